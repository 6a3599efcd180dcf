//! Tables, read back by another reader than our own.

#![expect(clippy::unwrap_used, reason = "tests")]

use lab::rows::{ClientRow, CurveRow, RunRow};
use lab::table;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;

fn client(run: &str, client: u64, plain: f64) -> ClientRow {
    ClientRow { run: run.to_owned(), client, rows: u64::MAX - client, plain, macro_: 0.25, macro_f1: 0.125 }
}

#[test]
fn rows_come_back_from_parquet_and_from_json() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [client("a, \"quoted\" & <ä>", 0, 0.5), client("b\n", 1, f64::NAN), client("", 2, 1.0)];
    table::write(folder.path(), "clients", &rows).unwrap();

    let file = std::fs::File::open(folder.path().join("clients.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
    assert_eq!(names, ["run", "client", "rows", "plain", "macro", "macro_f1"]);
    let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), rows.len());
    for (read, row) in read.iter().zip(&rows) {
        assert_eq!(read.get_string(0).unwrap(), &row.run);
        assert_eq!(read.get_ulong(1).unwrap(), row.client);
        assert_eq!(read.get_ulong(2).unwrap(), row.rows);
        assert!(read.get_double(3).unwrap().total_cmp(&row.plain).is_eq());
        assert_eq!(read.get_double(4).unwrap(), row.macro_);
        assert_eq!(read.get_double(5).unwrap(), row.macro_f1);
    }

    let back: Vec<ClientRow> = table::read(&folder.path().join("clients.json")).unwrap();
    assert_eq!((&back[0], &back[2]), (&rows[0], &rows[2]));
    assert!(back[1].plain.is_nan() && back[1].rows == u64::MAX - 1);
}

#[test]
fn an_empty_table_has_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    table::write::<CurveRow>(folder.path(), "curves", &[]).unwrap();
    let file = std::fs::File::open(folder.path().join("curves.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    assert_eq!(reader.metadata().file_metadata().schema_descr().num_columns(), 9);
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    assert_eq!(table::read::<CurveRow>(&folder.path().join("curves.json")).unwrap(), []);
}

#[test]
fn a_table_is_replaced_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    for runs in [3, 1] {
        let rows: Vec<_> = (0..runs).map(|i| client("x", i, 0.5)).collect();
        table::write(folder.path(), "clients", &rows).unwrap();
    }
    assert_eq!(table::read::<ClientRow>(&folder.path().join("clients.json")).unwrap().len(), 1);
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["clients.json", "clients.parquet"]);
}

#[test]
fn a_file_that_is_no_such_table_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.json");
    for (text, said) in [
        ("{}", "there is no array"),
        ("[1]", "row 1 is no object"),
        ("[{\"run\": 7}]", "row 1: column `run` is missing or holds no text"),
        ("[", "EOF"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = table::read::<RunRow>(&path).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("runs.json"), "{error}");
    }
}
