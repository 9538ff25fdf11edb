//! Which language a text is in, and how sure that is.
//!
//! Three witnesses are heard. **Letters**: whatlang compares letters and trigrams, which is sure on a paragraph and a
//! guess on a few words, the worse the more languages compete; hence the allow-list. **Words**: function words, which
//! tell a language after two or three of them. **The source**: what it declares is believed where the text is too
//! short to contradict it.

mod codes;
mod words;

use std::collections::HashSet;

use whatlang::{Detector, Lang, Script};

use crate::{Error, extract, normalise};
use words::Vote;

/// The languages that are told apart where nothing else is configured: the most written ones, those in scripts of
/// their own, and of close relatives only one.
pub(crate) const USUAL: [&str; 25] = [
    "en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr", "vi", "id", "ro", "cs", "hu", "ru", "uk",
    "el", "ar", "fa", "he", "hi", "zh", "ja", "ko",
];

/// No language could be told; ISO 639-2 has this code for it.
const UNKNOWN: &str = "und";
/// So much of a text is enough to tell its language, in bytes.
const SAMPLE: usize = 1_000;
/// At so many letters what letters say counts half.
const HALF_TRUST: f64 = 40.0;
/// Below this certainty no language is named.
const LEAST_CERTAINTY: f64 = 0.2;
/// How certain a declared language is where the text does not say.
const DECLARED: f64 = 0.7;

/// A language and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Language {
    /// ISO 639-1, or `und`.
    pub(crate) code: &'static str,
    /// 0…1.
    pub(crate) certainty: f64,
}

/// Tells languages.
#[derive(Debug)]
pub struct Languages {
    allowed: HashSet<&'static str>,
    /// Whether letters can part anything among the allowed languages of the Latin script.
    parts_latin: bool,
    detector: Detector,
}

impl Languages {
    /// Chooses among these, ISO 639-1; among every language that can be detected where there is none.
    ///
    /// # Errors
    /// A code that is not known.
    pub fn new(configured: &[String]) -> Result<Self, Error> {
        let known =
            |code: &String| codes::lang(code).ok_or_else(|| Error::UnknownLanguage { code: code.clone() });
        let mut langs = configured.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if langs.is_empty() {
            langs = Lang::all().to_vec();
        }
        let latin = Script::Latin.langs();
        Ok(Self {
            allowed: langs.iter().filter_map(|lang| codes::code(*lang)).collect(),
            parts_latin: langs.iter().filter(|lang| latin.contains(lang)).count() > 1,
            detector: Detector::with_allowlist(langs),
        })
    }

    /// The language of a text by itself, ISO 639-1; `und` where it cannot be told.
    #[must_use]
    pub fn tell(&self, text: &str) -> &'static str {
        self.of(text, None).code
    }

    /// The language of `text`, given what its source declares.
    pub(crate) fn of(&self, text: &str, declared: Option<&str>) -> Language {
        let sample = sample(text);
        let found = join(self.by_letters(&sample), words::vote(&sample, &self.allowed));
        let found = found.filter(|found| self.allowed.contains(found.code));
        let declared =
            declared.and_then(codes::lang).and_then(codes::code).filter(|c| self.allowed.contains(c));
        weigh(found, declared)
    }

    /// What letters and trigrams say. On few letters of a script that languages share, their certainty shrinks by
    /// `letters / (letters + 40)`.
    fn by_letters(&self, sample: &str) -> Option<Vote> {
        let info = extract::guarded(|| self.detector.detect(sample))??;
        // whatlang leaves its allow-list aside for a script that only one language has.
        let code = codes::code(info.lang()).filter(|code| self.allowed.contains(code))?;
        let letters = sample.chars().filter(|c| c.is_alphabetic()).count() as f64;
        let trust = match info.script() {
            Script::Latin if !self.parts_latin => 0.0,
            Script::Latin | Script::Cyrillic => letters / (letters + HALF_TRUST),
            _ => 1.0,
        };
        Some(Vote { code, certainty: info.confidence().clamp(0.0, 1.0) * trust })
    }
}

/// The text without what is no language: links, mentions, tags.
fn sample(text: &str) -> String {
    let start = extract::prefix(text, SAMPLE);
    let words = start.split(' ').filter(|w| !w.starts_with(['@', '#']) && !w.contains("://"));
    normalise::folded(&words.collect::<Vec<_>>().join(" "))
}

/// Two witnesses who agree are `1 − (1 − a)(1 − b)` sure; where they do not, the surer one is heard, `a(1 − b)`.
fn join(letters: Option<Vote>, words: Option<Vote>) -> Option<Vote> {
    let (Some(a), Some(b)) = (letters, words) else { return letters.or(words) };
    if a.code == b.code {
        return Some(Vote { code: a.code, certainty: 1.0 - (1.0 - a.certainty) * (1.0 - b.certainty) });
    }
    let (surer, other) = if a.certainty > b.certainty { (a, b) } else { (b, a) };
    Some(Vote { code: surer.code, certainty: surer.certainty * (1.0 - other.certainty) })
}

fn weigh(found: Option<Vote>, declared: Option<&'static str>) -> Language {
    let (code, certainty) = match (found, declared) {
        (Some(found), Some(code)) if found.code == code => {
            (code, 1.0 - (1.0 - found.certainty) * (1.0 - DECLARED))
        }
        (Some(found), Some(_)) if found.certainty > DECLARED => (found.code, found.certainty),
        (_, Some(code)) => (code, DECLARED),
        (Some(found), None) if found.certainty >= LEAST_CERTAINTY => (found.code, found.certainty),
        (found, None) => (UNKNOWN, found.map_or(0.0, |found| found.certainty)),
    };
    Language { code, certainty }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(codes: &[&str], text: &str, declared: Option<&str>) -> Language {
        let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
        Languages::new(&codes).unwrap().of(text, declared)
    }

    #[test]
    fn sentences_of_many_languages_are_told() {
        for (code, text) in [
            ("en", "The ferry was late again, but nobody on the quay seemed to mind."),
            ("en", "@someone I was talking about you! http://example.org/le/la/les"),
            ("de", "Die Fähre kam wieder zu spät, aber niemand am Kai hat sich beschwert."),
            ("fr", "Le bac était encore en retard, mais personne ne s'est plaint."),
            ("es", "El barco llegó tarde otra vez, pero nadie se quejó en el muelle."),
            ("it", "Il traghetto era di nuovo in ritardo, ma nessuno si è lamentato."),
            ("pt", "O barco chegou atrasado outra vez, mas ninguém reclamou no cais."),
            ("nl", "De veerboot was weer te laat, maar niemand op de kade klaagde."),
            ("pl", "Prom znowu się spóźnił, ale nikt na nabrzeżu nie narzekał."),
            ("sv", "Färjan var sen igen, men ingen på kajen klagade."),
            ("tr", "Vapur yine geç kaldı ama iskelede kimse şikâyet etmedi."),
            ("ru", "Паром снова опоздал, но никто на причале не жаловался."),
            ("uk", "Пором знову запізнився, але ніхто на пристані не скаржився."),
            ("el", "Το πλοίο άργησε πάλι, αλλά κανείς δεν παραπονέθηκε."),
            ("ar", "تأخرت العبارة مرة أخرى لكن لم يشتك أحد على الرصيف"),
            ("he", "המעבורת שוב איחרה אבל איש לא התלונן"),
            ("hi", "नाव फिर देर से आई लेकिन किसी ने शिकायत नहीं की"),
            ("zh", "渡轮又晚点了，但是码头上没有人抱怨。"),
            ("ja", "フェリーはまた遅れたが、誰も文句を言わなかった。"),
            ("ko", "배가 또 늦었지만 아무도 불평하지 않았다."),
        ] {
            let found = of(&USUAL, text, None);
            assert_eq!(found.code, code, "{text}: {found:?}");
            assert!(found.certainty > 0.5, "{text}: {found:?}");
        }
    }

    #[test]
    fn a_list_of_names_is_no_language() {
        let found = of(&USUAL, "Kxqv 4711 Zzrp", None);
        assert!(found.certainty < 0.5, "{found:?}");
        assert_eq!(of(&USUAL, "4711 :-)", None), Language { code: "und", certainty: 0.0 });
    }

    #[test]
    fn only_allowed_languages_are_named() {
        let german = "Die Fähre kam wieder zu spät, aber niemand am Kai hat sich beschwert.";
        assert_eq!(of(&["en"], german, None).code, "und");
        assert_eq!(of(&["en", "fr"], "배가 또 늦었지만 아무도 불평하지 않았다.", None).code, "und");
        assert_eq!(of(&[], "배가 또 늦었다.", None).code, "ko");
    }

    #[test]
    fn a_declared_language_is_believed_until_the_text_contradicts_it() {
        assert_eq!(of(&USUAL, "Moin!", Some("de-DE")).code, "de");
        assert_eq!(
            of(&USUAL, "The ferry was late again, but nobody on the quay seemed to mind.", Some("de")).code,
            "en"
        );
        assert_eq!(of(&["en"], "Moin!", Some("de")).code, "und");
        let plain = of(&USUAL, "Good morning to all of you", None);
        assert!(of(&USUAL, "Good morning to all of you", Some("en")).certainty > plain.certainty);
    }
}
