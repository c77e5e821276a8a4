//! The values of flags that are lists: seeds, methods, and learning rates by name.

use bitfit_bert::UnknownName;
use bitfit_bert::run::{GridRates, MethodChoice};
use bitfit_bert::train::RateGroup;

use super::reproduce::GridRatesArg;

/// The most seeds of a range. More of them are mistakes.
const MOST_SEEDS: u64 = 1000;

/// The seeds of several runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

/// A list of seeds and of ranges of them, such as `0-4` or `0,3,7`.
pub fn seeds(text: &str) -> Result<Seeds, String> {
    let expected = "expected a range of seeds, such as 0-4, or a list of them, such as 0,3,7";
    let mut seeds = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last] = [first, last].map(|seed| seed.trim().parse::<u64>().map_err(|_| expected.to_owned()));
        let (first, last) = (first?, last?);
        if first > last {
            return Err("the first seed of a range must not be above its last".into());
        }
        if last - first >= MOST_SEEDS {
            return Err(format!("expected at most {MOST_SEEDS} seeds"));
        }
        seeds.extend(first..=last);
    }
    let is_twice = |(place, seed): (usize, &u64)| seeds[..place].contains(seed);
    if seeds.iter().enumerate().any(is_twice) {
        return Err("one of them is listed twice".into());
    }
    Ok(Seeds(seeds))
}

/// A method of a comparison.
pub fn method_choice(text: &str) -> Result<MethodChoice, String> {
    text.trim().parse()
}

/// Learning rates of a comparison: one of all methods, or those of some by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodRates {
    pub all: Option<f32>,
    pub of: Vec<(String, f32)>,
}

/// A number, or a list of names with a number each, such as `bitfit=1e-3,frozen=5e-3`.
pub fn method_rates(text: &str) -> Result<MethodRates, String> {
    let expected = "expected a number above 0, or names of methods with one each: bitfit=1e-3,frozen=5e-3";
    let rates = named_rates(text, expected)?;
    if rates.all.is_some() && !rates.of.is_empty() { Err(expected.into()) } else { Ok(rates) }
}

/// Learning rates to search: numbers for all methods, and names of methods with a number each, of which one may come
/// several times, such as `1e-3,full=2e-5,full=5e-5`.
pub fn grid_rates(text: &str) -> Result<GridRatesArg, String> {
    let expected = "expected numbers above 0, or names of methods with one each: 1e-3,full=2e-5,full=5e-5";
    let mut rates = GridRates::default();
    for part in text.split(',').map(str::trim) {
        let (name, rate) = part.rsplit_once('=').map_or((None, part), |(name, rate)| (Some(name.trim()), rate.trim()));
        let rate = rate.parse().ok().filter(|rate: &f32| *rate > 0.0 && rate.is_finite()).ok_or(expected)?;
        match name {
            None => rates.all.push(rate),
            Some("") => return Err(expected.into()),
            Some(name) => match rates.of.iter_mut().find(|(of, _)| of == name) {
                Some((_, of)) => of.push(rate),
                None => rates.of.push((name.to_owned(), vec![rate])),
            },
        }
    }
    Ok(GridRatesArg(rates))
}

/// Learning rates of a run: that of all groups that have none of their own, and of those that do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupRates {
    pub all: Option<f32>,
    pub of: Vec<(RateGroup, f32)>,
}

/// A number, a list of groups with a number each, such as `head=1e-3,bias=4e-3`, or both with the number first.
pub fn group_rates(text: &str) -> Result<GroupRates, String> {
    let MethodRates { all, of } = named_rates(text, "expected a number, or groups with one each: head=1e-3,bias=4e-3")?;
    let group = |(name, rate): (String, f32)| match name.parse() {
        Ok(group) => Ok((group, rate)),
        Err(error) => Err(UnknownName::to_string(&error)),
    };
    Ok(GroupRates { all, of: of.into_iter().map(group).collect::<Result<_, _>>()? })
}

/// A number in the first place, if there is one, and names with a number each.
fn named_rates(text: &str, expected: &str) -> Result<MethodRates, String> {
    let mut parts = text.split(',').map(str::trim).peekable();
    // The library checks a number that stands alone.
    let all = parts.peek().and_then(|first| first.parse().ok());
    if all.is_some() {
        parts.next();
    }
    let mut of: Vec<(String, f32)> = Vec::new();
    for part in parts {
        let rate = part.split_once('=').and_then(|(name, rate)| Some((name.trim(), rate.trim().parse().ok()?)));
        let Some((name, rate)) = rate.filter(|(name, rate): &(&str, f32)| !name.is_empty() && *rate > 0.0) else {
            return Err(expected.into());
        };
        if of.iter().any(|(named, _)| named == name) {
            return Err(format!("{name} has two rates"));
        }
        of.push((name.to_owned(), rate));
    }
    Ok(MethodRates { all, of })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_to_search_are_those_of_all_methods_and_those_of_some() {
        let rates = grid_rates("1e-3, 4e-4,full=2e-5,bitfit:query+value=1e-2,full=5e-5").unwrap().0;
        assert_eq!(rates.all, [1e-3, 4e-4]);
        let of = vec![("full".to_owned(), vec![2e-5, 5e-5]), ("bitfit:query+value".to_owned(), vec![1e-2])];
        assert_eq!(rates.of, of);
        for bad in ["", "fast", "0", "-1", "inf", "full=", "=1", "1e-3,", "full=x"] {
            assert!(grid_rates(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seeds_are_ranges_and_lists() {
        let list = |text| seeds(text).map(|seeds| seeds.0);
        assert_eq!(list("0-4"), Ok(vec![0, 1, 2, 3, 4]));
        assert_eq!(list("0,3,7"), Ok(vec![0, 3, 7]));
        assert_eq!(list("9, 1-2"), Ok(vec![9, 1, 2]));
        for bad in ["", "-", "4-0", "a", "1-", "-1", "0-4-5", "1,,2", "0-1000", "0-18446744073709551615", "3,0-4"] {
            assert!(list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_one_of_all_or_one_of_each_name() {
        assert_eq!(method_rates("1e-3"), Ok(MethodRates { all: Some(1e-3), of: Vec::new() }));
        let of = vec![("bitfit:query+value".to_owned(), 1e-3), ("frozen".to_owned(), 2e-2)];
        assert_eq!(method_rates("bitfit:query+value=1e-3, frozen=2e-2"), Ok(MethodRates { all: None, of }));
        for bad in ["", "bitfit", "bitfit=", "=1", "bitfit=x", "bitfit=0", "bitfit=-1", "bitfit=NaN", "a=1,a=2", "a=1,"]
        {
            assert!(method_rates(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_of_groups_may_follow_one_of_all() {
        let of = vec![(RateGroup::Head, 1e-3), (RateGroup::Bias, 4e-3)];
        assert_eq!(group_rates("head=1e-3,bias=4e-3"), Ok(GroupRates { all: None, of: of.clone() }));
        assert_eq!(group_rates("2e-3, head=1e-3, bias=4e-3"), Ok(GroupRates { all: Some(2e-3), of }));
        assert_eq!(group_rates("1e-3"), Ok(GroupRates { all: Some(1e-3), of: Vec::new() }));
        for bad in ["", "fast", "head", "head=1e-3,2e-3", "1e-3,2e-3", "head=1,head=2", "head=-1"] {
            assert!(group_rates(bad).is_err(), "{bad}");
        }
        assert!(group_rates("heads=1").unwrap_err().contains("expected head, bias, layernorm"));
        assert!(method_rates("1e-3,bitfit=2e-3").is_err(), "a method is always named or not");
    }
}
