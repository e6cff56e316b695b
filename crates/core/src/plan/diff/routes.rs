//! Routes, compared key by key.

use crate::effective::RouteTarget;
use crate::host::{Host, is_our_route};
use crate::observed::Route;
use crate::plan::Action;
use crate::plan::desired::{Desired, RouteWish};
use crate::plan::steps::{Stage, Steps};

pub(super) fn diff_routes(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    for (key, wish) in &desired.routes {
        let standing = host.routes(key);
        if !standing.contains(&&wish.route) {
            set(wish, standing.is_empty(), steps);
        }
    }
    for route in host.observed.routes.iter().filter(|r| is_our_route(r)) {
        let wanted = desired.routes.get(&route.key);
        let in_place = |wish: &RouteWish<'_>| host.routes(&route.key).contains(&&wish.route);
        let superfluous = match wanted {
            None => true,
            // Of several routes of ours with one key the right one stays; if it is not there yet, the
            // first is replaced by it.
            Some(wish) => in_place(wish) && *route != wish.route,
        };
        if superfluous {
            let action = Action::RemoveRoute(route.clone());
            steps.clean_up(Stage::RemoveRoute, action);
        }
    }
}

fn set(wish: &RouteWish<'_>, vacant: bool, steps: &mut Steps) {
    let route: Route = wish.route.clone();
    let stage = match route.target {
        RouteTarget::Unicast {
            gateway: Some(_), ..
        } => Stage::SetRouteWithGateway,
        _ => Stage::SetRoute,
    };
    let action = if vacant {
        Action::AddRoute(route)
    } else {
        Action::ReplaceRoute(route)
    };
    steps.push(stage, wish.owner, action);
}
