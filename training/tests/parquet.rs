//! Parquet as pandas and pyarrow write it (`scripts/parquet_fixtures.py`), and damaged files.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use lora::Message;
use proptest::prelude::*;
use training::{At, Columns, Content, DataError, DataSource, Dataset};

const LABELLED: Columns<'static> = Columns { text: "text", answer: "label", messages: None, unit: None };
const PROMPTS: Columns<'static> = Columns { text: "prompt", answer: "completion", messages: None, unit: None };

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/parquet/{name}.parquet"))
}

fn read(file: &Path, columns: Columns<'_>) -> Result<(Vec<(At, Content)>, Dataset), DataError> {
    let labels = if columns.text == "prompt" { Vec::new() } else { ["eye", "ear"].map(str::to_owned).to_vec() };
    let mut rows = Vec::new();
    let set = Dataset::read(&DataSource { file, format: None, columns }, &labels, &mut |row| {
        rows.push((row.at, row.content));
        Ok(())
    })?;
    Ok((rows, set))
}

fn refused(name: &str, columns: Columns<'_>) -> DataError {
    read(&fixture(name), columns).unwrap_err()
}

#[test]
fn what_pandas_writes_is_read_with_every_codec_that_is_built_in() {
    for codec in ["none", "snappy", "gzip", "zstd"] {
        let (rows, set) = read(&fixture(codec), Columns { unit: Some("patient"), ..LABELLED }).unwrap();
        let labelled = |row, text: &str, label| (At::Row(row), Content::Labelled { text: text.to_owned(), label });
        let wanted =
            [labelled(1, "deaf \"left\"", 1), labelled(2, "blind, r\u{e9}tine", 0), labelled(3, "deaf\nright", 1)];
        assert_eq!(rows, wanted, "{codec}");
        let units: Vec<&[usize]> = set.units().iter().collect();
        assert_eq!(units, [[0, 2].as_slice(), &[1]]);
        let source = DataSource { file: &fixture(codec), format: None, columns: LABELLED };
        assert_eq!(Dataset::labels(&source).unwrap(), ["ear", "eye"]);
    }
    for codec in ["brotli", "lz4"] {
        let error = refused(codec, LABELLED);
        assert!(matches!(&error, DataError::Codec { codec: named, .. } if named == codec), "{error}");
        assert!(error.to_string().contains("snappy, gzip or zstd"), "{error}");
    }
}

#[test]
fn integers_of_all_signs_and_several_row_groups_are_read_in_order() {
    let (rows, set) = read(&fixture("prompts"), Columns { unit: Some("who"), ..PROMPTS }).unwrap();
    assert_eq!((rows.len(), set.units().len()), (700, 350));
    for (row, (at, content)) in rows.iter().enumerate() {
        assert_eq!(*at, At::Row(row as u64 + 1));
        let answer = if row == 0 { "0".to_owned() } else { format!("-{row}") };
        let wanted = [Message::new("user", &format!("question {row}")), Message::new("assistant", &answer)];
        assert_eq!(content, &Content::Conversation(wanted.into()));
    }
    assert!(set.units().iter().zip(0..).all(|(unit, i)| unit == [2 * i, 2 * i + 1]));
    // Units are told apart by their decimals: 2^64 - 1 is no -1, and the split is that of the same texts elsewhere.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("same.csv");
    let csv: String = (0..700).map(|i| format!("question {i},-{i},{}\n", u64::MAX - i / 2)).collect();
    std::fs::write(&file, format!("prompt,completion,who\n{csv}")).unwrap();
    let same = read(&file, Columns { unit: Some("who"), ..PROMPTS }).unwrap().1;
    assert_eq!(same.house(0.3), set.house(0.3));
}

#[test]
fn conversations_are_lists_of_structs() {
    let said = |pairs: &[(&str, &str)]| {
        Content::Conversation(pairs.iter().map(|(role, content)| Message::new(role, content)).collect())
    };
    let (rows, _) = read(&fixture("messages"), PROMPTS).unwrap();
    let wanted = [
        said(&[("user", "ear"), ("assistant", "H66")]),
        said(&[("system", "Be short."), ("user", "eye"), ("assistant", "H10"), ("user", "hand"), ("assistant", "S62")]),
        said(&[("user", "heart"), ("assistant", "I21")]),
    ];
    assert_eq!(rows.into_iter().map(|(_, content)| content).collect::<Vec<_>>(), wanted);

    let text = refused("bad_messages", PROMPTS).to_string();
    for part in [
        "8 rows are at fault",
        "row 2: 'messages' is null",
        "row 3: 'messages' is an empty list",
        "row 4: 'messages[1].role' is null",
        "row 5: 'messages[2].content' is null",
        "row 6: 'messages' has a message 2 of the role 'tool'",
        "row 7: 'messages' does not end with a message of the assistant",
        "row 8: 'messages' has an empty message 1",
        "row 9: 'messages' has no message of the user",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let more = refused("more_messages", PROMPTS);
    assert!(more.to_string().contains("more in its structs than `role` and `content`"), "{more}");
    let text = refused("none", Columns { messages: Some("text"), ..PROMPTS });
    assert!(text.to_string().contains("must be a list of structs"), "{text}");
}

#[test]
fn nulls_blanks_and_unknown_labels_are_reported_by_row() {
    let text = refused("nulls", Columns { unit: Some("patient"), ..LABELLED }).to_string();
    for part in [
        "5 rows are at fault",
        "row 2: 'text' is null",
        "row 3: 'label' is null",
        "row 4: 'patient' is null",
        "column 'text' is empty in row 5",
        "row 6: 'text' holds a NUL character",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn columns_that_are_missing_or_twice_there_or_of_other_types_are_named() {
    let error = refused("none", Columns { text: "words", ..LABELLED });
    let DataError::MissingColumn { at: At::Schema, column, found, .. } = &error else { panic!("{error}") };
    assert_eq!((column.as_str(), found.as_str()), ("words", "patient, text, label, weight"));
    let twice = refused("twice", LABELLED);
    assert!(matches!(&twice, DataError::DuplicateColumn { column, .. } if column == "text"), "{twice}");
    assert!(matches!(refused("empty", LABELLED), DataError::Empty { .. }));

    let (rows, _) = read(&fixture("types"), Columns { text: "binary", ..LABELLED }).unwrap();
    assert_eq!(rows[0].1, Content::Labelled { text: "text as bytes".to_owned(), label: 0 });
    let latin = refused("types", Columns { text: "latin1", ..LABELLED });
    assert!(matches!(latin, DataError::NotUtf8 { at: At::Row(1), .. }), "{latin}");
    for column in ["decimal", "date", "time", "real", "truth", "list"] {
        let error = refused("types", Columns { text: column, ..LABELLED });
        assert!(matches!(&error, DataError::ColumnType { column: named, .. } if named == column), "{error}");
    }
}

/// What is read of `bytes`, however damaged: rows or an error.
fn survive(bytes: &[u8], columns: Columns<'_>) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.parquet");
    std::fs::write(&file, bytes).unwrap();
    read(&file, columns).is_ok()
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    for (name, columns) in [("snappy", LABELLED), ("messages", PROMPTS)] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        assert!(survive(&bytes, columns));
        for length in 0..bytes.len() {
            assert!(!survive(&bytes[..length], columns), "{name} {length}");
        }
    }
}

/// A byte at a time: counts and sizes that are too large or negative, types and levels that do not fit.
#[test]
fn any_byte_of_a_file_may_be_wrong() {
    for (name, columns) in [("none", LABELLED), ("messages", PROMPTS)] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for place in 0..bytes.len() {
            for value in [0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[place] = value;
                survive(&bytes, columns);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_are_read_or_refused(
        name in prop::sample::select(vec!["none", "snappy", "gzip", "zstd", "prompts", "messages", "types"]),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let columns = match name {
            "prompts" | "messages" => PROMPTS,
            "types" => Columns { text: "binary", ..LABELLED },
            _ => LABELLED,
        };
        survive(&bytes, columns);
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), framed in any::<bool>()) {
        let length = (bytes.len() as u32).to_le_bytes();
        let file = if framed { [b"PAR1", bytes.as_slice(), &length, b"PAR1"].concat() } else { bytes };
        prop_assert!(!survive(&file, LABELLED));
    }
}
