//! Why a charter was refused.

/// Why a charter was refused: the key at fault, the rule, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    /// Not TOML, or a key is missing, unknown or of another type. The message has line and column.
    #[error("the charter cannot be read: {0}")]
    Syntax(String),
    /// Longer than the bound.
    #[error("the charter has {length} bytes; at most {limit} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// A key breaks a rule.
    #[error("charter key `{key}`: {rule}; {instead}")]
    Rule {
        /// The key, with its section.
        key: &'static str,
        /// The rule and the values that break it.
        rule: String,
        /// What to write instead.
        instead: String,
    },
}
