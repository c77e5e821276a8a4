//! The two scores of SQuAD: the share of questions that are answered right, and the mean F1 of the answers' words.
//! Where a question has several right answers, the best counts; where it has none, an empty answer is right.
//!
//! Answers are compared in lower case, without ASCII punctuation, without the words a, an and the, and with single
//! spaces, as the script `evaluate-v2.0.py` of SQuAD compares them.

use std::collections::HashMap;

/// The share of answers that are one of the right ones.
pub fn exact_match(predicted: &[&str], expected: &[Vec<&str>]) -> f64 {
    mean(predicted, expected, |predicted, expected| f64::from(u8::from(predicted == expected)))
}

/// The mean F1 of the words of each answer; of an answer without words 1 where it is right, and otherwise 0.
pub fn answer_f1(predicted: &[&str], expected: &[Vec<&str>]) -> f64 {
    mean(predicted, expected, |predicted, expected| {
        if predicted.is_empty() || expected.is_empty() {
            return f64::from(u8::from(predicted == expected));
        }
        let mut left: HashMap<&str, usize> = HashMap::new();
        expected.iter().for_each(|word| *left.entry(word).or_default() += 1);
        let mut common = 0;
        for word in predicted {
            if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
                *count -= 1;
                common += 1;
            }
        }
        // 2 P R / (P + R), with P = common / predicted and R = common / expected.
        2.0 * f64::from(common) / (predicted.len() + expected.len()) as f64
    })
}

/// The mean over all questions of the best score over their right answers, as words.
fn mean(predicted: &[&str], expected: &[Vec<&str>], score: impl Fn(&[String], &[String]) -> f64) -> f64 {
    let of = |(predicted, expected): (&&str, &Vec<&str>)| {
        let predicted = words(predicted);
        let mut right: Vec<Vec<String>> = expected.iter().map(|text| words(text)).collect();
        right.retain(|words| !words.is_empty());
        if right.is_empty() {
            right.push(Vec::new());
        }
        right.iter().map(|right| score(&predicted, right)).fold(0.0, f64::max)
    };
    predicted.iter().zip(expected).map(of).sum::<f64>() / predicted.len() as f64
}

/// What is compared of an answer.
fn words(answer: &str) -> Vec<String> {
    let text: String = answer.to_lowercase().chars().filter(|character| !character.is_ascii_punctuation()).collect();
    // An article is one between characters that are of no word, which a space need not be.
    let mut kept = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(start) = rest.find(is_of_word) {
        let (between, from) = rest.split_at(start);
        let end = from.find(|character| !is_of_word(character)).unwrap_or(from.len());
        let (word, behind) = from.split_at(end);
        kept.push_str(between);
        kept.push_str(if matches!(word, "a" | "an" | "the") { " " } else { word });
        rest = behind;
    }
    kept.push_str(rest);
    kept.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What `\w` matches in Python: letters, digits and numbers. Other than there, vowel signs and circled letters, which
/// Unicode calls alphabetic too, count here; it matters only beside the bare words a, an and the.
fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// What `str.split()` of Python splits at.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On cases that `tests/goldens/answers.py` computed with SQuAD's own script.
    #[test]
    fn the_scores_are_those_of_the_script_of_squad() {
        let golden = include_str!("../../tests/goldens/answers.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let cases = golden.as_array().unwrap();
        assert!(cases.len() > 60);
        for case in cases {
            let predicted = case["predicted"].as_str().unwrap();
            let expected = case["expected"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
            let expected = [expected];
            let found = [exact_match(&[predicted], &expected), answer_f1(&[predicted], &expected)];
            for (found, key) in found.into_iter().zip(["exact", "f1"]) {
                assert!((found - case[key].as_f64().unwrap()).abs() < 1e-12, "{key} {found} {case}");
            }
        }
    }

    #[test]
    fn a_score_is_the_mean_over_the_questions() {
        let (predicted, expected) = (["the cat", "", "dog"], [vec!["Cat!"], vec![], vec!["a dog house", "mouse"]]);
        assert_eq!(exact_match(&predicted, &expected), 2.0 / 3.0);
        assert_eq!(answer_f1(&predicted, &expected), (1.0 + 1.0 + 2.0 / 3.0) / 3.0);
    }
}
