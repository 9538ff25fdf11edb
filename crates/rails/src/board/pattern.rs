//! Patterns of places on the blackboard.

/// A JSON Pointer (RFC 6901) with wildcards.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
    /// Whether it ends in `**`.
    below: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Named(String),
    Any,
}

impl Segment {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Named(named) => named == name,
            Self::Any => true,
        }
    }
}

impl Pattern {
    /// Reads a pattern; `None` where it is no JSON Pointer, or `**` stands anywhere but at its end. Such a one matches nothing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (text, below) = match text.strip_suffix("/**") {
            Some(before) => (before, true),
            None => (text, false),
        };
        let segments = raw_segments(text)?
            .map(|raw| match raw {
                "**" => None,
                "*" => Some(Segment::Any),
                _ => unescaped(raw).map(Segment::Named),
            })
            .collect::<Option<_>>()?;
        Some(Self { segments, below })
    }

    /// Whether it means this very place.
    pub(super) fn matches(&self, place: &[String]) -> bool {
        let long_enough =
            if self.below { place.len() >= self.segments.len() } else { place.len() == self.segments.len() };
        long_enough && self.agrees(place)
    }

    /// Whether it means this place, or one that this place is in.
    pub(super) fn covers(&self, place: &[String]) -> bool {
        place.len() >= self.segments.len() && self.agrees(place)
    }

    /// Whether it may mean a place in this one.
    pub(super) fn leads_into(&self, place: &[String]) -> bool {
        place.len() < self.segments.len() && self.agrees(place)
    }

    fn agrees(&self, place: &[String]) -> bool {
        self.segments.iter().zip(place).all(|(segment, name)| segment.fits(name))
    }
}

/// The names on the way to the place that a JSON Pointer names, unescaped; `None` where it is none.
pub(crate) fn place(pointer: &str) -> Option<Vec<String>> {
    raw_segments(pointer)?.map(unescaped).collect()
}

fn raw_segments(pointer: &str) -> Option<impl Iterator<Item = &str>> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    Some(pointer.split('/').skip(1))
}

/// `~1` stands for `/` and `~0` for `~`; another `~` is an error (RFC 6901, section 3).
fn unescaped(raw: &str) -> Option<String> {
    let mut pieces = raw.split('~');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        let (escaped, rest) = match piece.as_bytes().first()? {
            b'0' => ('~', &piece[1..]),
            b'1' => ('/', &piece[1..]),
            _ => return None,
        };
        name.push(escaped);
        name.push_str(rest);
    }
    Some(name)
}
