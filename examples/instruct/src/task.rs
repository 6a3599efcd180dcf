//! What the companies teach: an instruction with a diagnosis in, the chapter of its ICD-10 code as a sentence out.

use anyhow::Context as _;
use common::rows::Row;
use serde::Serialize;

/// The chapters of the 2022 edition with the codes in them, by the name that the rows have for each.
const CHAPTERS: [(&str, &str); 21] = [
    ("infectious", "Infectious and parasitic diseases (A00-B99)."),
    ("neoplasms", "Neoplasms (C00-D49)."),
    ("blood", "Blood and immune mechanism (D50-D89)."),
    ("endocrine", "Endocrine, nutritional and metabolic diseases (E00-E89)."),
    ("mental", "Mental and behavioral disorders (F01-F99)."),
    ("nervous", "Nervous system (G00-G99)."),
    ("eye", "Eye and adnexa (H00-H59)."),
    ("ear", "Ear and mastoid process (H60-H95)."),
    ("circulatory", "Circulatory system (I00-I99)."),
    ("respiratory", "Respiratory system (J00-J99)."),
    ("digestive", "Digestive system (K00-K95)."),
    ("skin", "Skin and subcutaneous tissue (L00-L99)."),
    ("musculoskeletal", "Musculoskeletal system (M00-M99)."),
    ("genitourinary", "Genitourinary system (N00-N99)."),
    ("pregnancy", "Pregnancy and childbirth (O00-O9A)."),
    ("perinatal", "Perinatal period (P00-P96)."),
    ("congenital", "Congenital malformations (Q00-Q99)."),
    ("symptoms", "Symptoms and abnormal findings (R00-R99)."),
    ("injury", "Injury and poisoning (S00-T88)."),
    ("external", "External causes (V00-Y99)."),
    ("status", "Health status and services (Z00-Z99)."),
];

/// A prompt and what is to be said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instruction {
    /// What the user says.
    pub prompt: String,
    /// What the assistant answers.
    pub completion: String,
}

impl Instruction {
    /// The instruction of a row.
    ///
    /// # Errors
    /// A chapter that has no sentence.
    pub fn of(row: &Row) -> anyhow::Result<Self> {
        let sentence = CHAPTERS.iter().find(|(label, _)| *label == row.label);
        let (_, sentence) =
            sentence.with_context(|| format!("{}: no sentence for the chapter {}", row.code, row.label))?;
        Ok(Self {
            prompt: format!("ICD-10 chapter of this diagnosis: {}", row.text),
            completion: (*sentence).to_owned(),
        })
    }
}

/// Instructions as a company's JSONL file holds them.
///
/// # Errors
/// None that is known: texts are always JSON.
pub fn lines(instructions: &[Instruction]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for instruction in instructions {
        serde_json::to_writer(&mut bytes, instruction)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_row_is_an_instruction_whose_sentence_names_the_codes_that_the_row_lies_among() {
        for file in ["train.tsv", "test.tsv", "public.tsv"] {
            for row in common::rows::load(&common::rows::folder().join(file)).unwrap() {
                let said = Instruction::of(&row).unwrap().completion;
                let (_, codes) = said.split_once('(').unwrap();
                let (first, last) = codes.trim_end_matches(").").split_once('-').unwrap();
                // Categories are three signs, in order: A before O9A's end, digits before letters.
                assert!((first..=last).contains(&row.code.get(..3).unwrap()), "{}: {said}", row.code);
            }
        }
    }
}
