//! Pages of a Parquet column, looked at before they are decoded.

use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

/// The least that a string or an integer takes in a dictionary: a length, or four bytes.
const LEAST_BYTES: usize = 4;

/// Refuses a dictionary that claims more values than its bytes can hold. The crate makes room for all that are claimed, which in a damaged file
/// may be more than any machine has.
pub(super) struct Plausible(pub(super) Box<dyn PageReader>);

impl PageReader for Plausible {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.0.get_next_page()?;
        match &page {
            Some(Page::DictionaryPage { buf, num_values, .. }) if *num_values as usize > buf.len() / LEAST_BYTES => {
                let reason = format!("a dictionary of {} bytes that claims {num_values} values", buf.len());
                Err(ParquetError::General(reason))
            }
            _ => Ok(page),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.0.at_record_boundary()
    }
}

impl Iterator for Plausible {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
