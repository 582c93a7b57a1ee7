//! Names that every system takes: how a name out of Immich becomes the name of a file, and stays
//! one of a kind.
//!
//! The rule, once. A name is put into NFC; a slash, a control character, a mark of direction or of
//! a line's end and any of `<>:"\|?*` becomes `_`; blanks at both ends go; dots at the end become
//! `_`; nothing at all becomes a stand-in; a name that Windows reserves or that file managers probe
//! for gets `_` in front; what is longer than [`LONGEST`] bytes, with what is added to it, is cut
//! before its extension.
//!
//! Two names clash when they are equal after Unicode case folding and normalisation. Of all the
//! things that any snapshot shows in one folder, taken in the order they came (see
//! [`NamedUnit::order`]), the first with a name keeps it; a later one gets the first eight digits of its
//! id in brackets before the extension, and the whole id where that is taken too. A photo, its
//! moving half and its sidecar are one [`NamedUnit`] and change together. As all snapshots take part, a
//! thing has the same name in each of them.
//!
//! Always holds: [`safe`] is idempotent; names that [`NameSuffixes`] gave within a folder never clash;
//! both depend on nothing but their arguments.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

/// Bytes of a name, as file systems have it.
pub const LONGEST: usize = 255;

/// Bytes of the longest extension that is kept when a name is cut, its dot included.
const LONGEST_EXTENSION: usize = 17;

/// `raw` as the name of a file; `stand_in` (a safe name itself) where nothing is left of it.
pub fn safe(raw: &str, stand_in: &str) -> String {
    let clean: String = raw.nfc().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    match tidy(&shorten(tidy(&clean))) {
        name if name.is_empty() => stand_in.to_owned(),
        name => name,
    }
}

/// Without blanks and dots at its ends, and not called what others take for something else.
fn tidy(name: &str) -> String {
    let trimmed = name.trim();
    let bare = trimmed.trim_end_matches('.');
    let dots = "_".repeat(trimmed.len() - bare.len());
    let front = if is_reserved(trimmed) || is_probe(trimmed) { "_" } else { "" };
    format!("{front}{bare}{dots}")
}

/// Stem and extension (with its dot; empty where there is none).
pub fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && is_extension(&name[dot..]) => name.split_at(dot),
        _ => (name, ""),
    }
}

/// What two names have in common when some system takes them for one.
pub fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let upper: String = name.nfd().flat_map(char::to_uppercase).collect();
    upper.chars().flat_map(char::to_lowercase).nfc().collect()
}

/// True for names that desktops look for in every folder; nothing in `users/` is ever called so.
pub fn is_probe(name: &str) -> bool {
    const PROBES: [&str; 15] = [
        ".trash",
        ".trashes",
        ".hidden",
        ".ds_store",
        ".directory",
        ".xdg-volume-info",
        ".localized",
        ".spotlight-v100",
        ".fseventsd",
        ".metadata_never_index",
        "autorun.inf",
        "desktop.ini",
        "thumbs.db",
        ".git",
        ".svn",
    ];
    if name.starts_with("._") || name.starts_with(".Trash-") || name.starts_with(".fuse_hidden") {
        return true;
    }
    (name.starts_with('.') || name.len() <= 11)
        && PROBES.iter().any(|probe| name.eq_ignore_ascii_case(probe))
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || turns(c) || matches!(c, '/' | '<' | '>' | ':' | '"' | '\\' | '|' | '?' | '*')
}

/// Characters that nobody sees and that change what is seen: with U+202E in it `photo gpj.exe`
/// looks as if it were a picture. Source: Unicode Standard Annex 9, section 2 (directional
/// formatting), and the separators of lines and paragraphs.
fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_extension(dotted: &str) -> bool {
    let letters = &dotted[1..];
    (1..LONGEST_EXTENSION).contains(&letters.len())
        && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Names that Windows keeps for devices, whatever follows the first dot.
/// Source: "Naming Files, Paths, and Namespaces", learn.microsoft.com.
fn is_reserved(name: &str) -> bool {
    let device = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    if matches!(device.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let port = device.strip_prefix("COM").or_else(|| device.strip_prefix("LPT"));
    port.is_some_and(|digit| {
        matches!(digit, "¹" | "²" | "³")
            || (digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit())
    })
}

/// At most [`LONGEST`] bytes, the extension kept.
fn shorten(name: String) -> String {
    let (stem, extension) = split(&name);
    fitting(stem, extension)
}

/// `stem` and `end`; the stem is cut, between characters, where both are longer than a name can be.
fn fitting(stem: &str, end: &str) -> String {
    if stem.len() + end.len() <= LONGEST {
        return format!("{stem}{end}");
    }
    let mut cut = LONGEST.saturating_sub(end.len());
    while !stem.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{end}", stem[..cut].trim_end())
}

/// The names that a thing goes by in one version of it: a photo, its sidecar, its moving half; or
/// just a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NameShape {
    stem: String,
    extension: String,
    video: Option<String>,
    folder: bool,
}

impl NameShape {
    /// An asset called `name`, and the name of its moving half.
    pub fn asset(name: &str, video: Option<&str>) -> NameShape {
        let name = safe(name, "unnamed");
        let (stem, extension) = split(&name);
        let video = video.map(|video| split(&safe(video, "unnamed")).1.to_owned());
        NameShape { stem: stem.to_owned(), extension: extension.to_owned(), video, folder: false }
    }

    /// A folder called `name`.
    pub fn folder(name: &str, stand_in: &str) -> NameShape {
        NameShape {
            stem: safe(name, stand_in),
            extension: String::new(),
            video: None,
            folder: true,
        }
    }

    /// The name itself, with the suffix that its unit got.
    pub fn name(&self, suffix: &str) -> String {
        fitting(&self.stem, &format!("{suffix}{}", self.extension))
    }

    /// The name of the sidecar: the photo's, unless that one leaves no room.
    pub fn sidecar(&self, suffix: &str) -> String {
        fitting(&self.stem, &format!("{suffix}{}.xmp", self.extension))
    }

    /// The name of the moving half. One that has no extension of its own, or the photo's or its
    /// sidecar's, gets a word instead.
    pub fn video(&self, suffix: &str) -> String {
        let extension = self.video.as_deref().unwrap_or_default();
        let taken = [self.extension.clone(), format!("{}.xmp", self.extension)];
        if taken.iter().any(|taken| fold(taken) == fold(extension)) {
            fitting(&self.stem, &format!("{suffix} video{extension}"))
        } else {
            fitting(&self.stem, &format!("{suffix}{extension}"))
        }
    }

    /// True when its own names differ: a long one that is cut for its sidecar may become what it
    /// was.
    fn is_sound(&self, suffix: &str) -> bool {
        let names = self.folded(suffix);
        names.iter().collect::<HashSet<_>>().len() == names.len()
    }

    fn folded(&self, suffix: &str) -> Vec<String> {
        let mut names = vec![fold(&self.name(suffix))];
        if !self.folder {
            names.push(fold(&self.sidecar(suffix)));
        }
        if self.video.is_some() {
            names.push(fold(&self.video(suffix)));
        }
        names
    }
}

/// One thing of a folder, in all versions that any snapshot has of it.
#[derive(Debug, Clone)]
pub struct NamedUnit {
    /// When it came: an asset's upload, an album's creation, else the first snapshot.
    pub since: i64,
    /// Its id in Immich: never the same for two units of a folder.
    pub id: [u8; 16],
    pub shapes: Vec<NameShape>,
}

impl NamedUnit {
    fn order(&self) -> (i64, [u8; 16]) {
        (self.since, self.id)
    }
}

/// The suffixes that the units of one folder got.
#[derive(Debug, Default)]
pub struct NameSuffixes {
    given: HashMap<[u8; 16], String>,
    taken: HashSet<String>,
}

impl NameSuffixes {
    /// Decides for `units`, after whatever was decided before.
    pub fn decide(&mut self, mut units: Vec<NamedUnit>) {
        units.sort_unstable_by_key(NamedUnit::order);
        for unit in units {
            let suffix = self.free(&unit);
            if !suffix.is_empty() {
                self.given.insert(unit.id, suffix);
            }
        }
    }

    /// The suffix of the unit with `id`; empty where its name is its own.
    pub fn of(&self, id: &[u8; 16]) -> &str {
        self.given.get(id).map_or("", String::as_str)
    }

    fn free(&mut self, unit: &NamedUnit) -> String {
        let id = Uuid::from_bytes(unit.id);
        let short = format!(" ({:08x})", id.as_fields().0);
        let mut suffix = String::new();
        while !self.claim(unit, &suffix) {
            suffix = match suffix.len() {
                0 => short.clone(),
                11 => format!(" ({id})"),
                _ => suffix + "_",
            };
        }
        suffix
    }

    fn claim(&mut self, unit: &NamedUnit, suffix: &str) -> bool {
        let names: HashSet<String> =
            unit.shapes.iter().flat_map(|shape| shape.folded(suffix)).collect();
        // With a suffix the names of one thing differ, wherever they are cut.
        let is_sound = !suffix.is_empty() || unit.shapes.iter().all(|shape| shape.is_sound(suffix));
        let free = is_sound && names.iter().all(|name| !self.taken.contains(name));
        if free {
            self.taken.extend(names);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(raw: &str) -> String {
        safe(raw, "unnamed")
    }

    #[test]
    fn a_plain_name_stays_as_it_is() {
        for name in [
            "IMG_0001.HEIC",
            "Zoë – Müller 日本.jpg",
            "-rf.jpg",
            ".hidden.jpg",
            "it's.jpg",
            "a\u{2215}b.jpg",
            "…",
        ] {
            assert_eq!(made(name), name);
        }
    }

    #[test]
    fn what_some_system_refuses_is_replaced() {
        assert_eq!(made("a/b\\c:d*e?f\"g<h>i|j\tk\0l.jpg"), "a_b_c_d_e_f_g_h_i_j_k_l.jpg");
        assert_eq!(made("  blank .jpg  "), "blank .jpg");
        assert_eq!(
            (made("."), made(".."), made("Dr."), made("")),
            ("_".into(), "__".into(), "Dr_".into(), "unnamed".into())
        );
        assert_eq!(
            (made("CON.jpg"), made("com1"), made("COM¹.a"), made("Console.jpg")),
            ("_CON.jpg".into(), "_com1".into(), "_COM¹.a".into(), "Console.jpg".into())
        );
        assert_eq!(made("e\u{301}.jpg"), "\u{e9}.jpg");
    }

    #[test]
    fn nothing_is_called_what_file_managers_probe_for() {
        for probe in
            [".Trash-1000", "._IMG.jpg", "Desktop.ini", "Thumbs.db", ".DS_Store", ".directory"]
        {
            assert!(is_probe(probe), "{probe}");
            assert_eq!(made(probe), format!("_{probe}"));
        }
    }

    #[test]
    fn a_name_is_kept_to_255_bytes_and_a_longer_one_keeps_its_extension() {
        let longest = format!("{}.jpeg", "x".repeat(250));
        assert_eq!(made(&longest), longest);
        let name = made(&format!("{}.jpeg", "日".repeat(200)));
        assert!(name.ends_with("日.jpeg") && (253..=255).contains(&name.len()), "{}", name.len());
        let shape = NameShape::asset(&"x".repeat(300), Some("a.0123456789abcdef"));
        let suffix = format!(" ({})", Uuid::nil());
        assert_eq!(
            (shape.name("").len(), shape.video(&suffix).len(), shape.sidecar(&suffix).len()),
            (255, 255, 255)
        );
        assert!(shape.name(&suffix).ends_with(&suffix) && shape.sidecar("").ends_with(".xmp"));
        // Cut for its sidecar it would be called as it is itself.
        let own = unit(1, &format!("{}.xmp.xmp", "a".repeat(247)), None);
        let half = NameShape::asset("b", Some("x.xmp"));
        assert_eq!(
            (half.sidecar(""), half.video("")),
            ("b.xmp".to_owned(), "b video.xmp".to_owned())
        );
        let mut suffixes = NameSuffixes::default();
        suffixes.decide(vec![own.clone()]);
        assert_eq!(suffixes.of(&own.id), " (01010101)");
    }

    #[test]
    fn what_turns_the_direction_of_a_text_does_not_hide_how_a_name_ends() {
        assert_eq!(made("rtl\u{202e}gpj.exe.jpg"), "rtl_gpj.exe.jpg");
        assert_eq!(made("a\u{2028}b\u{2066}c\u{200f}d\u{61c}e.jpg"), "a_b_c_d_e.jpg");
        assert_eq!(
            made("👩\u{200d}🚀.jpg"),
            "👩\u{200d}🚀.jpg",
            "what joins an emoji turns nothing"
        );
    }

    #[test]
    fn a_name_that_is_cut_after_a_dot_is_still_safe() {
        let cut = made(&format!("{}. and so on", "a".repeat(LONGEST - 1)));
        assert_eq!(cut, format!("{}_", "a".repeat(LONGEST - 1)));
        let found = ".>🩠𞺡 A0\u{1193b} 0e\u{301}AAລa:Aaae\u{301}e\u{301}e\u{301}e\u{301}Σe\u{301} \
            :ae\u{301}e\u{301}e\u{301}e\u{301} e\u{301}e\u{301}e\u{301}a 0ae\u{301}e\u{301}0. 0 \
            A:aଏ A e\u{301}e\u{301}e\u{301}𑌲\u{a81}ףּe\u{301}Ae\u{301} :𞤀e\u{301}𐝠e\u{301}e\u{301} \
            e\u{301}e\u{301} \0e\u{301}e\u{301}aࡰ\0𑍇e\u{301}e\u{301}e\u{301} \0\0﷏ጘ \
            e\u{301}0a\0aA0e\u{301}૦e\u{301}aAe\u{301}aAA᠀並െ . Aa0e\u{301}A.ெA® 𐤿ꓐ𝔖AAຆ";
        assert_eq!(made(&made(found)), made(found));
        assert!(!made(found).ends_with(['.', ' ']));
    }

    fn unit(number: u8, name: &str, video: Option<&str>) -> NamedUnit {
        NamedUnit {
            since: i64::from(number),
            id: [number; 16],
            shapes: vec![NameShape::asset(name, video)],
        }
    }

    #[test]
    fn the_first_keeps_its_name_and_a_live_photo_changes_as_one() {
        let mut suffixes = NameSuffixes::default();
        suffixes.decide(vec![
            unit(3, "IMG_1.HEIC", Some("x.MOV")),
            unit(1, "img_1.mov", None),
            unit(2, "IMG_1.JPG", None),
        ]);
        assert_eq!(
            (suffixes.of(&[1; 16]), suffixes.of(&[2; 16]), suffixes.of(&[3; 16])),
            ("", "", " (03030303)")
        );
        let shape = NameShape::asset("IMG_1.HEIC", Some("x.MOV"));
        assert_eq!(shape.name(" (03030303)"), "IMG_1 (03030303).HEIC");
        assert_eq!(shape.video(" (03030303)"), "IMG_1 (03030303).MOV");
        assert_eq!(shape.sidecar(" (03030303)"), "IMG_1 (03030303).HEIC.xmp");
    }

    /// So few letters that names clash, also with suffixes and sidecars.
    const NAMES: &str = "(a|A|á|a\u{301}|b|CON|\\.|/| )(\\.jpg|\\.JPG|\\.mov|\\.xmp|\\.jpg\\.xmp| \
        \\(01010101\\)\\.jpg)?";

    fn units() -> impl Strategy<Value = Vec<NamedUnit>> {
        let one = (0..3i64, 0..4u8, prop::collection::vec((NAMES, prop::option::of(NAMES)), 1..3));
        prop::collection::vec(one, 0..12).prop_map(|all| {
            let shape =
                |(name, video): (String, Option<String>)| NameShape::asset(&name, video.as_deref());
            let unit = |(number, (since, id, names)): (usize, (i64, u8, Vec<_>))| {
                let mut bytes = [id; 16];
                bytes[15] = number as u8;
                NamedUnit { since, id: bytes, shapes: names.into_iter().map(shape).collect() }
            };
            all.into_iter().enumerate().map(unit).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_safe_name_is_safe(raw in "(\\PC|[\\x00-\\x20./:]|e\u{301}){0,300}") {
            let name = made(&raw);
            prop_assert_eq!(&made(&name), &name);
            prop_assert!(!name.is_empty() && name.len() <= LONGEST && !name.contains(is_unsafe));
            prop_assert!(!name.ends_with(['.', ' ']) && !name.starts_with(' '));
            prop_assert!(!is_probe(&name) && !is_reserved(&name));
        }

        #[test]
        fn names_of_a_folder_never_clash_and_do_not_depend_on_order(units in units()) {
            let mut suffixes = NameSuffixes::default();
            suffixes.decide(units.clone());
            let mut seen = HashMap::new();
            for unit in &units {
                for name in unit.shapes.iter().flat_map(|shape| shape.folded(suffixes.of(&unit.id))) {
                    prop_assert!(*seen.entry(name).or_insert(unit.id) == unit.id);
                }
            }
            let mut again = NameSuffixes::default();
            again.decide(units.iter().rev().cloned().collect());
            prop_assert!(units.iter().all(|unit| again.of(&unit.id) == suffixes.of(&unit.id)));
        }

        #[test]
        fn the_first_of_a_folder_has_no_suffix(units in units()) {
            let mut suffixes = NameSuffixes::default();
            suffixes.decide(units.clone());
            if let Some(first) = units.iter().min_by_key(|unit| unit.order()) {
                prop_assert_eq!(suffixes.of(&first.id), "");
            }
        }
    }
}
