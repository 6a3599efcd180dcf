//! Data files: what is read, and what is refused by file, line and field.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use proptest::prelude::*;
use training::{At, Columns, Content, DataError, DataSource, Dataset, Format, Units};

const PLAIN: Columns<'static> = Columns { text: "text", answer: "label", messages: None, unit: None };

/// A file's rows as they were handed on, and what is kept of them.
#[derive(Debug)]
struct Found {
    rows: Vec<Content>,
    set: Dataset,
}

impl Found {
    fn row(&self, row: usize) -> (&str, usize) {
        let Content::Labelled { text, label } = &self.rows[row] else { panic!("{:?}", self.rows[row]) };
        (text, *label)
    }
}

fn labels() -> Vec<String> {
    ["eye", "ear"].map(str::to_owned).to_vec()
}

fn load(name: &str, content: &[u8], columns: Columns<'_>) -> Result<Found, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join(name);
    std::fs::write(&file, content).unwrap();
    read(&DataSource { file: &file, format: None, columns }, &labels())
}

fn read(source: &DataSource<'_>, labels: &[String]) -> Result<Found, DataError> {
    let mut rows = Vec::new();
    let set = Dataset::read(source, labels, &mut |row| {
        rows.push(row.content);
        Ok(())
    })?;
    Ok(Found { rows, set })
}

fn units(units: &[&[usize]]) -> Units {
    units.iter().collect()
}

#[test]
fn the_three_formats_give_the_same_rows() {
    let tsv = load("a.tsv", b"label\ttext\near\tdeaf \"left\"\neye\tblind\n", PLAIN).unwrap();
    let csv = load("a.csv", b"text,label\n\"deaf \"\"left\"\"\",ear\nblind,eye\n", PLAIN).unwrap();
    let jsonl = load(
        "a.jsonl",
        b"{\"text\":\"deaf \\\"left\\\"\",\"label\":\"ear\"}\n\n{\"label\":\"eye\",\"text\":\"blind\",\"more\":1}\n",
        PLAIN,
    )
    .unwrap();
    for found in [&tsv, &csv, &jsonl] {
        assert_eq!((found.row(0), found.row(1)), (("deaf \"left\"", 1), ("blind", 0)));
        assert_eq!(found.set.units(), &units(&[&[0], &[1]]));
    }
}

proptest! {
    /// A unit's side must not tell about, or hang on, any other unit.
    #[test]
    fn which_units_are_held_out_does_not_hang_on_the_other_rows(
        texts in proptest::collection::btree_set("[a-z]{4,8}", 2..40), dropped in any::<proptest::sample::Index>(), share in 0.0f64..1.0,
    ) {
        let texts: Vec<String> = texts.into_iter().collect();
        let sides = |texts: &[String]| {
            let file: String = texts.iter().map(|text| format!("{text},ear\n")).collect();
            let found = load("a.csv", format!("text,label\n{file}").as_bytes(), PLAIN).unwrap();
            let house = found.set.house(share);
            assert_eq!(house.units.len() + house.held_out.len(), texts.len());
            let names = |units: &Units| units.iter().map(|unit| found.row(unit[0]).0.to_owned()).collect::<Vec<_>>();
            (names(&house.units), names(&house.held_out))
        };
        let gone = &texts[dropped.index(texts.len())];
        let (mut trained, mut held) = sides(&texts);
        let fewer: Vec<String> = texts.iter().filter(|text| *text != gone).cloned().collect();
        trained.retain(|text| text != gone);
        held.retain(|text| text != gone);
        prop_assert_eq!(sides(&fewer), (trained, held));
    }
}

#[test]
fn a_patients_rows_are_held_out_together_and_the_share_is_about_what_was_asked_for() {
    let columns = Columns { unit: Some("patient"), ..PLAIN };
    let rows: String = (0..4000).map(|i| format!("p{},text {i},ear\n", i % 2000)).collect();
    let set = load("a.csv", format!("patient,text,label\n{rows}").as_bytes(), columns).unwrap().set;
    let house = set.house(0.1);
    assert!(house.units.iter().chain(house.held_out.iter()).all(|unit| unit.len() == 2));
    // 2000 units at a tenth: 200, deviation 13.4.
    assert!(house.held_out.len().abs_diff(200) < 67, "{}", house.held_out.len());
    assert_eq!((set.house(0.0).held_out.len(), set.house(1.0).units.len()), (0, 0));
}

/// Else a patient would be clipped twice, and held out and trained on.
#[test]
fn blanks_around_a_name_make_no_other_unit() {
    let columns = Columns { unit: Some("patient"), ..PLAIN };
    let set = load("a.tsv", b"patient\ttext\tlabel\np7\ta\teye\np7 \tb\teye\n p7\tc\tear\n", columns).unwrap().set;
    assert_eq!(set.units(), &units(&[&[0, 1, 2]]));
}

#[test]
fn rows_of_one_unit_stand_together() {
    let columns = Columns { unit: Some("patient"), ..PLAIN };
    let set = load("a.csv", b"patient,text,label\n7,a,eye\n8,b,eye\n7,c,ear\n", columns).unwrap().set;
    assert_eq!(set.units(), &units(&[&[0, 2], &[1]]));
    assert_eq!(set.units().largest(), 2);
    assert!(set.has_named_units());
    let set = load("a.jsonl", b"{\"patient\":7,\"text\":\"a\",\"label\":\"eye\"}", columns).unwrap().set;
    assert_eq!(set.units(), &units(&[&[0]]));
}

#[test]
fn a_label_outside_the_charter_is_named_with_its_line() {
    let error = load("a.tsv", b"text\tlabel\na\teye\nb\tnose\n", PLAIN).unwrap_err();
    assert!(error.to_string().ends_with("label 'nose' in line 3 is not one of the charter's"), "{error}");
}

#[test]
fn a_missing_column_is_named_with_those_that_are_there() {
    let error = load("a.csv", b"text,chapter\na,eye\n", PLAIN).unwrap_err();
    let DataError::MissingColumn { at: At::Line(1), column, found, .. } = error else { panic!("{error}") };
    assert_eq!((column.as_str(), found.as_str()), ("label", "text, chapter"));
    let error = load("a.jsonl", b"{\"text\":\"a\",\"label\":\"eye\"}\n{\"text\":\"a\"}\n", PLAIN).unwrap_err();
    assert!(matches!(error, DataError::MissingColumn { at: At::Line(2), .. }), "{error}");
}

#[test]
fn broken_files_are_refused_by_line() {
    let cases: [(&str, &[u8]); 9] = [
        ("a.tsv", b""),
        ("a.csv", b"text,label\n"),
        ("a.jsonl", b"\n\n"),
        ("a.tsv", b"text\tlabel\nok\teye\n\xff\xfe\teye\n"),
        ("a.jsonl", b"{\"text\":\"\xff\",\"label\":\"eye\"}"),
        ("a.csv", b"text,label\na,eye,more\n"),
        ("a.jsonl", b"[1,2]"),
        ("a.jsonl", b"{\"text\":true,\"label\":\"eye\"}"),
        ("a.csv", b"text,label\n ,eye\n"),
    ];
    let found: Vec<String> = cases
        .iter()
        .map(|(name, content)| match load(name, content, PLAIN).unwrap_err() {
            DataError::Empty { .. } => "empty".into(),
            DataError::NotUtf8 { at, .. } => format!("utf8 {at}"),
            DataError::Malformed { at, .. } => format!("malformed {at}"),
            DataError::EmptyField { at, column, .. } => format!("blank {column} {at}"),
            other => format!("{other}"),
        })
        .collect();
    assert_eq!(
        found,
        [
            "empty",
            "empty",
            "empty",
            "utf8 line 3",
            "utf8 line 1",
            "malformed line 2",
            "malformed line 1",
            "malformed line 1",
            "blank text line 2"
        ]
    );
}

#[test]
fn a_name_without_a_known_ending_needs_a_format() {
    assert!(matches!(load("a.txt", b"text,label\n", PLAIN), Err(DataError::UnknownFormat { .. })));
    let nowhere = DataSource { file: "nowhere.bin".as_ref(), format: Some(Format::Csv), columns: PLAIN };
    let missing = read(&nowhere, &labels());
    assert!(matches!(missing, Err(DataError::Read { .. })));
}

/// A person who corrects a file wants all of it at once.
#[test]
fn every_bad_row_is_reported_by_line() {
    let rows = "text\tlabel\na\teye\nb\tnose\nc\n \tear\nd\tear\ne\ttoe\n";
    let error = load("a.tsv", rows.as_bytes(), PLAIN).unwrap_err();
    let DataError::Several { problems, more: false, .. } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 4);
    let text = error.to_string();
    for part in [
        "4 rows are at fault:",
        "label 'nose' in line 3",
        "line 4: 1 fields",
        "empty in line 5",
        "label 'toe' in line 7",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let objects = "{\"text\":\"a\"}\n[1]\n{\"text\":\"a\",\"label\":\"eye\"}\n{\"text\":3}\n";
    let text = load("a.jsonl", objects.as_bytes(), PLAIN).unwrap_err().to_string();
    for part in ["3 rows", "no column 'label' in line 1", "line 2: not a JSON object", "no column 'label' in line 4"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // There is an end to it.
    let many = "text\tlabel\n".to_owned() + &"a\tnose\n".repeat(1000);
    let error = load("a.tsv", many.as_bytes(), PLAIN).unwrap_err();
    assert!(matches!(&error, DataError::Several { problems, more: true, .. } if problems.len() == 200));
    assert!(error.to_string().contains("200 rows are at fault, and more:"));
}

/// A file of another encoding, or a binary one, has them.
#[test]
fn nul_characters_are_refused_by_line() {
    for (name, content) in [
        ("a.tsv", b"text\tlabel\na\teye\nb\0\teye\n".as_slice()),
        ("a.jsonl", b"{\"text\":\"a\",\"label\":\"eye\"}\n{\"text\":\"b\\u0000\",\"label\":\"eye\"}\n"),
    ] {
        let error = load(name, content, PLAIN).unwrap_err();
        assert!(
            error.to_string().contains(if name == "a.tsv" {
                "line 3: 'text' holds a NUL"
            } else {
                "line 2: 'text' holds a NUL"
            }),
            "{error}"
        );
    }
    // UTF-16 with its mark.
    let wide: Vec<u8> = "\u{feff}text,label\na,eye\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(matches!(load("a.csv", &wide, PLAIN), Err(DataError::NotUtf8 { at: At::Line(1), .. })));
}

#[test]
fn a_column_that_is_there_twice_is_refused_where_it_is_read() {
    for (name, content, line) in [
        ("a.csv", b"text,label,text\na,eye,b\n".as_slice(), 1),
        ("a.jsonl", b"{\"text\":\"a\",\"label\":\"eye\"}\n{\"text\":\"a\",\"label\":\"eye\",\"text\":\"b\"}\n", 2),
    ] {
        let error = load(name, content, PLAIN).unwrap_err();
        assert!(
            matches!(&error, DataError::DuplicateColumn { at: At::Line(at), column, .. } if *at == line && column == "text"),
            "{error}"
        );
    }
    load("a.csv", b"text,label,more,more\na,eye,b,c\n", PLAIN).unwrap();
}

#[test]
fn the_mark_of_utf_8_is_no_part_of_the_first_line() {
    let csv = load("a.csv", "\u{feff}text,label\nblind,eye\n".as_bytes(), PLAIN).unwrap();
    let jsonl = load("a.jsonl", "\u{feff}{\"text\":\"blind\",\"label\":\"eye\"}".as_bytes(), PLAIN).unwrap();
    assert_eq!((csv.row(0), jsonl.row(0)), (("blind", 0), ("blind", 0)));
}

/// 16 MiB: a longer line is named, and the lines after it are read; a quote that is never closed ends the file.
#[test]
fn lines_are_bounded() {
    const MOST: usize = 16 << 20;
    let row = |length: usize| {
        let frame = "{\"text\":\"\",\"label\":\"eye\"}".len();
        format!("{{\"text\":\"{}\",\"label\":\"eye\"}}\n", "a".repeat(length - frame))
    };
    let found = load("a.jsonl", (row(MOST) + &row(100)).as_bytes(), PLAIN).unwrap();
    assert_eq!(found.rows.len(), 2);
    let error = load("a.jsonl", (row(100) + &row(MOST + 1) + "[1]\n").as_bytes(), PLAIN).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("2 rows") && text.contains("line 2 is longer than 16 MiB") && text.contains("line 3:"),
        "{text}"
    );

    let long = "a".repeat(MOST + 1);
    let error = load("a.tsv", format!("text\tlabel\n{long}\teye\na\tnose\n").as_bytes(), PLAIN).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("line 2 is longer than 16 MiB") && text.contains("label 'nose' in line 3"), "{text}");
    let rest = "b,eye\n".repeat(6 << 20);
    let error = load("a.csv", format!("text,label\na,eye\n\"b,eye\n{rest}").as_bytes(), PLAIN).unwrap_err();
    assert!(matches!(error, DataError::TooLong { at: At::Line(3), .. }), "{error}");
}
