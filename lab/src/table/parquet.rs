//! A table as a Parquet file: one row group, every column required, uncompressed.

use std::sync::Arc;

use ::parquet::basic::{LogicalType, Repetition, Type as Physical};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;

use super::{Cell, Kind, Row};

pub(super) fn encode<R: Row>(rows: &[R]) -> Result<Vec<u8>> {
    let columns = R::columns();
    let schema = Arc::new(schema(&columns)?);
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::builder().build()))?;
    let lines: Vec<Vec<Cell>> = rows.iter().map(Row::cells).collect();
    let mut group = file.next_row_group()?;
    for i in 0..columns.len() {
        let Some(mut column) = group.next_column()? else { return Err(mismatch()) };
        write_column(column.untyped(), lines.iter().filter_map(|cells| cells.get(i)))?;
        column.close()?;
    }
    group.close()?;
    file.into_inner()
}

fn schema(columns: &[(&'static str, Kind)]) -> Result<Type> {
    let fields: Result<Vec<_>> = columns.iter().map(|&(name, kind)| field(name, kind).map(Arc::new)).collect();
    Type::group_type_builder("schema").with_fields(fields?).build()
}

fn field(name: &str, kind: Kind) -> Result<Type> {
    let (physical, logical) = match kind {
        Kind::Float => (Physical::DOUBLE, None),
        Kind::Signed => (Physical::INT64, None),
        Kind::Unsigned => (Physical::INT64, Some(LogicalType::integer(64, false))),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
    builder.with_logical_type(logical).build()
}

fn write_column<'a>(writer: &mut ColumnWriter<'_>, cells: impl Iterator<Item = &'a Cell>) -> Result<()> {
    match writer {
        ColumnWriter::DoubleColumnWriter(writer) => {
            let values: Result<Vec<f64>> =
                cells.map(|cell| if let Cell::Float(x) = cell { Ok(*x) } else { Err(mismatch()) }).collect();
            writer.write_batch(&values?, None, None)?;
        }
        ColumnWriter::Int64ColumnWriter(writer) => {
            let integer = |cell: &Cell| match cell {
                Cell::Signed(value) => Ok(*value),
                // The format's unsigned integers are these 64 bits.
                Cell::Unsigned(value) => Ok(value.cast_signed()),
                Cell::Float(_) | Cell::Text(_) => Err(mismatch()),
            };
            let values: Result<Vec<i64>> = cells.map(integer).collect();
            writer.write_batch(&values?, None, None)?;
        }
        ColumnWriter::ByteArrayColumnWriter(writer) => {
            let text =
                |cell: &Cell| if let Cell::Text(x) = cell { Ok(ByteArray::from(x.as_str())) } else { Err(mismatch()) };
            let values: Result<Vec<ByteArray>> = cells.map(text).collect();
            writer.write_batch(&values?, None, None)?;
        }
        _ => return Err(mismatch()),
    }
    Ok(())
}

fn mismatch() -> ParquetError {
    ParquetError::General("a row's cells are not of its columns' kinds".to_owned())
}
