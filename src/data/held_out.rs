//! Classes held out: in-distribution pictures that a model has never learnt.

use super::{DataError, DataSet, Images, SIZE};

impl DataSet {
    /// The set without the classes of these names or numbers, and the test pictures of those: in-distribution pictures
    /// that a model has never learnt. Labels stay what they are, so that a model keeps its ten logits.
    pub fn without(self, held_out: &str) -> Result<(Self, Images), DataError> {
        let number = |text: &str| {
            let named = self.classes.iter().position(|class| class.eq_ignore_ascii_case(text));
            let numbered = || text.parse().ok().filter(|&class: &usize| class < self.classes.len());
            named
                .or_else(numbered)
                .ok_or_else(|| DataError::NoSuchClass { name: text.to_owned(), classes: self.classes.join(", ") })
        };
        let out = held_out.split(',').map(|text| number(text.trim())).collect::<Result<Vec<_>, _>>()?;
        let parted = |images: &Images| {
            let mut parts = [Images::default(), Images::default()];
            for (bytes, &label) in images.bytes.chunks_exact(SIZE).zip(&images.labels) {
                parts[usize::from(out.contains(&usize::from(label)))].push(label, bytes);
            }
            parts
        };
        let ([train, _], [test, held]) = (parted(&self.train), parted(&self.test));
        if train.count() == 0 || test.count() == 0 {
            return Err(DataError::NothingLeft { name: self.name });
        }
        let names: Vec<&str> = out.iter().map(|&class| self.classes[class].as_str()).collect();
        let name = format!("{} without {}", self.name, names.join(", "));
        Ok((Self { name, classes: self.classes.clone(), train, test }, held))
    }
}
