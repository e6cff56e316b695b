use api::action::journal::State;

use super::lab::{Lab, assign, person};
use crate::action::{ImportError, Imported, import};

const NIC: &str = "/nics/a";

#[test]
fn importing_again_changes_nothing() {
    let mut lab = Lab::default();
    let plan = assign(NIC, "10.0.0.1");
    let id = lab.import(&plan);
    let mut renamed = plan.clone();
    renamed.name = "another name".to_owned();
    for plan in [&plan, &renamed] {
        assert_eq!(
            import(&lab.book, plan, &person()),
            Ok(Imported::Unchanged(id))
        );
    }
    lab.drive(lab.execute(&[]));
    assert_eq!(
        import(&lab.book, &plan, &person()),
        Ok(Imported::Unchanged(id))
    );
}

#[test]
fn another_content_under_the_same_key_is_refused() {
    let mut lab = Lab::default();
    let plan = assign(NIC, "10.0.0.1");
    let id = lab.import(&plan);
    let mut target = plan.clone();
    target.target.address = Some("10.0.0.2".parse().expect("an address"));
    let mut parameters = plan.clone();
    parameters.parameters.allow_reassignment = true;
    let mut provider = plan;
    provider.provider_ref = "other".to_owned();
    for (plan, field) in [
        (target, "target"),
        (parameters, "parameters"),
        (provider, "providerRef"),
    ] {
        assert_eq!(
            import(&lab.book, &plan, &person()),
            Err(ImportError::Changed { id, field })
        );
    }
}

#[test]
fn generations_only_go_up() {
    let mut lab = Lab::default();
    let mut plan = assign(NIC, "10.0.0.1");
    plan.generation = 2;
    let old = lab.import(&plan);
    plan.generation = 1;
    assert_eq!(
        import(&lab.book, &plan, &person()),
        Err(ImportError::Stale {
            id: old,
            latest: 2,
            generation: 1
        })
    );
    plan.generation = 3;
    plan.target.address = Some("10.0.0.9".parse().expect("an address"));
    let new = lab.import(&plan);
    assert_eq!(
        (lab.state(old), lab.state(new)),
        (State::Skipped, State::Pending)
    );
}

#[test]
fn a_plan_of_the_wrong_shape_is_refused() {
    let mut plan = assign(NIC, "10.0.0.1");
    plan.target.address = None;
    assert!(matches!(
        import(&Lab::default().book, &plan, &person()),
        Err(ImportError::Plan(_))
    ));
}
