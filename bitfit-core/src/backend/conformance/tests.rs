//! The checks of the device's own functions on the CPU, the names of all checks, and the report of failures. The checks
//! of each op run in the op's own tests.

use super::*;
use crate::{Cpu, backend::conformance::support::pass_on_every_cpu};

#[test]
fn the_cpus_own_functions_pass() {
    pass_on_every_cpu(device::checks);
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let mut names: Vec<_> = checks::<Cpu>().iter().map(|check| check.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn what_fails_is_named_and_the_rest_still_runs() {
    let checks: Vec<Check<Cpu>> = vec![
        Check { name: "one", run: |_| panic!("as it should") },
        Check { name: "two", run: |_| () },
        Check { name: "three", run: |_| panic!("as it should") },
    ];
    let failure = catch_unwind(|| run_checks(&Cpu::default(), checks)).unwrap_err();
    let message = failure.downcast_ref::<String>().unwrap();
    assert!(message.ends_with("failed conformance checks: one, three"), "{message}");
}
