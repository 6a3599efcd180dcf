//! The columns of a Parquet file that are read.

use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::FileReader;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type};

use super::reading::{Fields, Reading};
use crate::{At, DataError};

/// What a column of messages must be.
const LIST: &str = "must be a list of structs of `role` and `content`, both strings, as pandas and pyarrow write it";

/// The columns that are read: text and answer, or the roles and the contents of messages.
pub(super) struct Wanted<'a> {
    pub(super) first: Source<'a>,
    pub(super) second: Source<'a>,
    pub(super) unit: Option<Source<'a>>,
    /// The column of messages, where the first two are its.
    pub(super) messages: Option<&'a str>,
}

/// A column of values.
pub(super) struct Source<'a> {
    /// The configured name.
    pub(super) name: &'a str,
    /// Position among all columns of values.
    pub(super) leaf: usize,
    /// The definition level of a value that is there.
    pub(super) full: i16,
    /// Of a list: the definition level of one without elements.
    pub(super) empty: Option<i16>,
    /// Integers without a sign.
    pub(super) unsigned: bool,
}

impl<'a> Wanted<'a> {
    /// # Errors
    /// A column that is missing, there twice, or of another type.
    pub(super) fn find(reading: &Reading<'a>, table: &impl FileReader) -> Result<Self, DataError> {
        let schema = table.metadata().file_metadata().schema_descr();
        let names: Vec<&str> = schema.root_schema().get_fields().iter().map(|field| field.name()).collect();
        let root = |name: &str| {
            let mut found = names.iter().enumerate().filter(|(_, column)| **column == name);
            match (found.next(), found.next()) {
                (Some((position, _)), None) => Ok(position),
                (None, _) => Err(reading.missing(At::Schema, name, &names)),
                (Some(_), Some(_)) => Err(reading.twice(At::Schema, name)),
            }
        };
        let refuse = |name: &str, reason: String| DataError::ColumnType {
            file: reading.file.to_owned(),
            column: name.to_owned(),
            reason,
        };
        let flat = |name| flat(schema, root(name)?, name).map_err(|reason| refuse(name, reason));
        let unit = reading.columns.unit.map(flat).transpose()?;
        match reading.fields(|name| names.contains(&name)) {
            Fields::Pair => {
                let (first, second) = (flat(reading.columns.text)?, flat(reading.columns.answer)?);
                Ok(Self { first, second, unit, messages: None })
            }
            Fields::Messages(name) => {
                let [first, second] =
                    list(schema, root(name)?, name).map_err(|reason| refuse(name, reason.to_owned()))?;
                Ok(Self { first, second, unit, messages: Some(name) })
            }
        }
    }
}

impl Source<'_> {
    /// # Errors
    /// [`DataError::Codec`]: the column is compressed with what is not built in.
    pub(super) fn check_codec(&self, reading: &Reading<'_>, group: &RowGroupMetaData) -> Result<(), DataError> {
        let codec = match group.column(self.leaf).compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) | Compression::ZSTD(_) => {
                return Ok(());
            }
            Compression::BROTLI(_) => "brotli",
            Compression::LZO => "lzo",
            Compression::LZ4 | Compression::LZ4_RAW => "lz4",
        };
        let (file, column) = (reading.file.to_owned(), self.name.to_owned());
        Err(DataError::Codec { file, column, codec: codec.to_owned() })
    }
}

/// The positions of the columns of values under a field of the schema.
fn leaves(schema: &SchemaDescriptor, root: usize) -> impl Iterator<Item = usize> {
    (0..schema.num_columns()).filter(move |leaf| schema.get_column_root_idx(*leaf) == root)
}

/// A field of strings or integers.
fn flat<'a>(schema: &SchemaDescriptor, root: usize, name: &'a str) -> Result<Source<'a>, String> {
    let field = &schema.root_schema().get_fields()[root];
    let leaf = leaves(schema, root).next().filter(|_| field.is_primitive());
    let Some(leaf) = leaf else { return Err("is nested; write it as strings or integers".to_owned()) };
    let column = schema.column(leaf);
    let Some(unsigned) = is_unsigned(&column).filter(|_| column.max_rep_level() == 0) else {
        let kind = match column.logical_type_ref() {
            Some(logical) => format!("{logical:?}"),
            None => column.physical_type().to_string(),
        };
        return Err(format!("is of the type {kind}; write it as strings or integers"));
    };
    Ok(Source { name, leaf, full: column.max_def_level(), empty: None, unsigned })
}

/// Whether the integers of a column have no sign; `None` of what is neither strings nor integers, such as decimals and dates.
fn is_unsigned(column: &ColumnDescriptor) -> Option<bool> {
    use ConvertedType as Converted;

    match (column.physical_type(), column.logical_type_ref(), column.converted_type()) {
        (Physical::BYTE_ARRAY, Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _)
        | (Physical::BYTE_ARRAY, None, Converted::NONE | Converted::UTF8 | Converted::ENUM | Converted::JSON) => {
            Some(false)
        }
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(integer)), _) => Some(!integer.is_signed),
        (Physical::INT32 | Physical::INT64, None, converted) => match converted {
            Converted::NONE | Converted::INT_8 | Converted::INT_16 | Converted::INT_32 | Converted::INT_64 => {
                Some(false)
            }
            Converted::UINT_8 | Converted::UINT_16 | Converted::UINT_32 | Converted::UINT_64 => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// Roles and contents of a field of messages: a group (the list), in it one repeated group, in it one group (the struct) of both.
fn list<'a>(schema: &SchemaDescriptor, root: usize, name: &'a str) -> Result<[Source<'a>; 2], &'static str> {
    let list = &schema.root_schema().get_fields()[root];
    let only = |group: &Type| match group {
        Type::GroupType { fields, .. } => match fields.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        },
        Type::PrimitiveType { .. } => None,
    };
    let repeated = only(list).ok_or(LIST)?;
    let element =
        only(&repeated).filter(|_| repeated.get_basic_info().repetition() == Repetition::REPEATED).ok_or(LIST)?;
    let parts = match element.as_ref() {
        Type::GroupType { fields, .. } => fields.as_slice(),
        Type::PrimitiveType { .. } => return Err(LIST),
    };
    if parts.iter().any(|part| !["role", "content"].contains(&part.name())) {
        return Err("has more in its structs than `role` and `content`, which would not be learnt: leave it out");
    }
    let source = |part: &str| {
        let leaf = leaves(schema, root).find(|leaf| schema.column(*leaf).name() == part).ok_or(LIST)?;
        let column = schema.column(leaf);
        let fits = column.physical_type() == Physical::BYTE_ARRAY && column.max_rep_level() == 1;
        if !fits || is_unsigned(&column).is_none() {
            return Err(LIST);
        }
        // A list that may be null has a level for that it is there.
        let empty = i16::from(list.get_basic_info().repetition() == Repetition::OPTIONAL);
        Ok(Source { name, leaf, full: column.max_def_level(), empty: Some(empty), unsigned: false })
    };
    if parts.len() != 2 {
        return Err(LIST);
    }
    Ok([source("role")?, source("content")?])
}
