//! The device that a model runs on, chosen by name at run time.

use burn::tensor::Device;

use crate::LoraError;

/// Every name that some build of this crate understands, and whether this build does; an index may follow, as in `cuda:1`.
const NAMES: [(&str, bool); 6] = [
    ("cpu", true),
    ("cuda", cfg!(feature = "cuda")),
    ("rocm", cfg!(feature = "rocm")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
    ("wgpu", cfg!(any(feature = "wgpu", feature = "vulkan", feature = "metal"))),
];

/// The device called `name`: `cpu` always, and `cuda`, `rocm`, `vulkan`, `metal`, `wgpu` where the cargo feature of that name
/// is on. An index picks one of several, `cuda:1`; without it a device of that kind is chosen by burn.
///
/// # Errors
///
/// [`LoraError::Device`] where the name is unknown, the build lacks it or the machine has no such device.
pub fn device(name: &str) -> Result<Device, LoraError> {
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, digits)) => match digits.parse::<usize>() {
            Ok(index) => (kind, Some(index)),
            Err(_) => return Err(unavailable(name)),
        },
    };
    match (kind, index) {
        ("cpu", None | Some(0)) => Ok(Device::flex()),
        _ => accelerator(kind, index).ok_or_else(|| unavailable(name)),
    }
}

/// The names of [`device`] that this build was compiled with.
#[must_use]
pub fn device_names() -> Vec<&'static str> {
    NAMES.into_iter().filter(|(_, compiled)| *compiled).map(|(name, _)| name).collect()
}

fn unavailable(name: &str) -> LoraError {
    let available = device_names().join(", ");
    LoraError::Device { name: name.to_owned(), available }
}

#[cfg(not(any(feature = "cuda", feature = "rocm", feature = "wgpu", feature = "vulkan", feature = "metal")))]
fn accelerator(_kind: &str, _index: Option<usize>) -> Option<Device> {
    None
}

/// A device of `kind` that the machine really has: burn opens devices lazily and panics at the first tensor otherwise.
#[cfg(any(feature = "cuda", feature = "rocm", feature = "wgpu", feature = "vulkan", feature = "metal"))]
fn accelerator(kind: &str, index: Option<usize>) -> Option<Device> {
    use burn::tensor::DeviceType;

    let kind = match kind {
        #[cfg(feature = "cuda")]
        "cuda" => DeviceType::Cuda,
        #[cfg(feature = "rocm")]
        "rocm" => DeviceType::Rocm,
        #[cfg(feature = "vulkan")]
        "vulkan" => DeviceType::Vulkan,
        #[cfg(feature = "metal")]
        "metal" => DeviceType::Metal,
        #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
        "wgpu" => DeviceType::Wgpu,
        _ => return None,
    };
    // A missing driver shows as a panic of the enumeration in some runtimes.
    let found = std::panic::catch_unwind(|| Device::enumerate(kind).into_iter().collect::<Vec<_>>()).ok()?;
    found.into_iter().nth(index.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(device("cpu").unwrap(), Device::flex());
        assert!(device_names().contains(&"cpu"));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_names_that_work() {
        for name in ["", "gpu", "cpu:1", "cuda:", "cuda:x", "cuda:99999999999999999999"] {
            let error = device(name).unwrap_err().to_string();
            assert!(error.contains("cpu") && error.contains(&format!("{name:?}")), "{error}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_is_refused() {
        assert!(matches!(device("cuda:0"), Err(LoraError::Device { .. })));
    }
}
