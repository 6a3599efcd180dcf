//! The device that a model runs on, chosen by name at run time.

use burn::tensor::Device;

use crate::LoraError;

/// Picks the device itself.
const AUTO: &str = "auto";
const CPU: &str = "cpu";

/// The other names that some build of this crate understands, and whether this build does, in the order in which `auto` tries them: what
/// is made for one vendor's cards before what runs on all.
const ACCELERATORS: [(&str, bool); 5] = [
    ("cuda", cfg!(feature = "cuda")),
    ("rocm", cfg!(feature = "rocm")),
    ("metal", cfg!(feature = "metal")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("wgpu", cfg!(any(feature = "wgpu", feature = "vulkan", feature = "metal"))),
];

/// The device called `name`: `cpu` always, and `cuda`, `rocm`, `metal`, `vulkan`, `wgpu` where the cargo feature of that name
/// is on. An index picks one of several, `cuda:1`; without it the first is taken. `auto` is the first of these accelerators that this build
/// and this machine have and that works, else the CPU; a processor that plays a graphics card is passed over.
///
/// # Errors
///
/// [`LoraError::UnknownDevice`], [`LoraError::DeviceNotBuilt`], [`LoraError::NoSuchDevice`] or [`LoraError::DeviceFails`]; never for `auto`.
pub fn device(name: &str) -> Result<Device, LoraError> {
    if name == AUTO {
        let built = ACCELERATORS.into_iter().filter(|(_, built)| *built);
        return Ok(built.into_iter().find_map(|(kind, _)| first_card(kind)).unwrap_or_else(Device::flex));
    }
    let unknown = || LoraError::UnknownDevice { name: name.to_owned(), known: known() };
    let (kind, index) = match name.split_once(':') {
        None => (name, 0),
        Some((kind, digits)) => (kind, digits.parse::<usize>().map_err(|_| unknown())?),
    };
    if kind == CPU {
        return if index == 0 { Ok(Device::flex()) } else { Err(unknown()) };
    }
    let Some((_, built)) = ACCELERATORS.into_iter().find(|(known, _)| *known == kind) else {
        return Err(unknown());
    };
    if !built {
        let available = device_names().join(", ");
        return Err(LoraError::DeviceNotBuilt { name: name.to_owned(), kind: kind.to_owned(), available });
    }
    let mut found = enumerate(kind);
    if index >= found.len() {
        return Err(LoraError::NoSuchDevice { name: name.to_owned(), found: found.len() });
    }
    let device = found.swap_remove(index);
    match trial(&device) {
        Ok(()) => Ok(device),
        Err(reason) => Err(LoraError::DeviceFails { name: name.to_owned(), reason }),
    }
}

/// The names of [`device`] that this build was compiled with.
#[must_use]
pub fn device_names() -> Vec<&'static str> {
    let built = ACCELERATORS.into_iter().filter(|(_, built)| *built).map(|(name, _)| name);
    [AUTO, CPU].into_iter().chain(built).collect()
}

/// What a device is, for people: `cpu`, or the card's name with what it is reached by.
#[must_use]
pub fn describe_device(device: &Device) -> String {
    if *device == Device::flex() { CPU.to_owned() } else { card(device) }
}

fn known() -> String {
    [CPU].into_iter().chain(ACCELERATORS.map(|(name, _)| name)).collect::<Vec<_>>().join(", ")
}

/// The first device of `kind` that is a card of its own and works.
fn first_card(kind: &str) -> Option<Device> {
    enumerate(kind).into_iter().filter(|device| !is_software(device)).find(|device| trial(device).is_ok())
}

/// One product, since burn opens devices lazily and panics where it cannot: a driver too old, or a compiler of kernels that is missing,
/// shows here and not in the middle of a round.
fn trial(device: &Device) -> Result<(), String> {
    use burn::tensor::Tensor;

    let product = || {
        let ones = Tensor::<2>::ones([2, 2], device);
        ones.clone().matmul(ones).into_data().try_to_vec::<f32>()
    };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(product)) {
        Ok(Ok(found)) if found == [2.0; 4] => Ok(()),
        Ok(Ok(found)) => Err(format!("a product of ones is {found:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
        }
    }
}

#[cfg(not(any(feature = "cuda", feature = "rocm", feature = "wgpu", feature = "vulkan", feature = "metal")))]
mod built {
    use super::{CPU, Device};

    pub(super) fn enumerate(_kind: &str) -> Vec<Device> {
        Vec::new()
    }

    pub(super) fn is_software(_device: &Device) -> bool {
        false
    }

    pub(super) fn card(_device: &Device) -> String {
        CPU.to_owned()
    }
}

#[cfg(any(feature = "cuda", feature = "rocm", feature = "wgpu", feature = "vulkan", feature = "metal"))]
mod built {
    use burn::tensor::DeviceType;

    use super::Device;

    /// The devices of `kind` that the machine has.
    pub(super) fn enumerate(kind: &str) -> Vec<Device> {
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
            _ => return Vec::new(),
        };
        // A missing driver shows as a panic of the enumeration in some runtimes.
        std::panic::catch_unwind(|| Device::enumerate(kind).into_iter().collect()).unwrap_or_default()
    }

    /// Whether the processor plays the card (llvmpipe, WARP): slower than the CPU's own kernels.
    pub(super) fn is_software(device: &Device) -> bool {
        #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
        {
            use burn::tensor::DeviceKind;

            let on_processor = [
                Device::wgpu(DeviceKind::Cpu),
                #[cfg(feature = "vulkan")]
                Device::vulkan(DeviceKind::Cpu),
                #[cfg(feature = "metal")]
                Device::metal(DeviceKind::Cpu),
            ];
            on_processor.contains(device)
        }
        #[cfg(not(any(feature = "wgpu", feature = "vulkan", feature = "metal")))]
        {
            let _only_cards = device;
            false
        }
    }

    pub(super) fn card(device: &Device) -> String {
        let name = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| device.identity().map(|card| card.name)));
        match name {
            Ok(Some(name)) => format!("{name} ({device:?})"),
            _ => format!("{device:?}"),
        }
    }
}

use built::{card, enumerate, is_software};

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_cpu_is_always_there_and_multiplies() {
        let cpu = device("cpu").unwrap();
        assert_eq!((&cpu, &device("cpu:0").unwrap()), (&Device::flex(), &Device::flex()));
        trial(&cpu).unwrap();
        assert_eq!(describe_device(&cpu), "cpu");
        assert!(device_names().starts_with(&["auto", "cpu"]));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_names_that_there_are() {
        for name in ["", "gpu", "cpu:1", "cuda:", "cuda:x", "cuda:99999999999999999999", "auto:0", "AUTO"] {
            let error = device(name).unwrap_err().to_string();
            assert!(error.contains("auto, cpu, cuda, rocm") && error.contains(&format!("{name:?}")), "{error}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_is_refused_with_the_feature_that_brings_it() {
        let error = device("cuda:0").unwrap_err();
        assert!(matches!(&error, LoraError::DeviceNotBuilt { kind, .. } if kind == "cuda"), "{error}");
        assert!(error.to_string().contains("--features cuda"), "{error}");
    }

    /// Whatever this build and this machine have: it is a device that multiplies, and the CPU where nothing else is built in.
    #[test]
    fn auto_always_finds_a_device_that_multiplies() {
        let found = device("auto").unwrap();
        trial(&found).unwrap();
        if ACCELERATORS.iter().all(|(_, built)| !built) {
            assert_eq!(found, Device::flex());
        }
    }

    /// 99 of a kind is more than any machine here has.
    #[test]
    fn an_index_beyond_the_machine_s_devices_is_refused_with_their_number() {
        for (kind, _) in ACCELERATORS.into_iter().filter(|(_, built)| *built) {
            let found = enumerate(kind).len();
            let error = device(&format!("{kind}:99")).unwrap_err();
            assert!(matches!(error, LoraError::NoSuchDevice { found: n, .. } if n == found), "{error}");
        }
    }
}
