//! Up to when newcomers are let in: `node_selector` of the settings.
//!
//! Of LiveKit's keys there `cpu_load_limit` alone has an effect, whatever `kind` says: there is one node to choose.

use model::Share;

use crate::Fault;
use crate::yaml::{Map, Node};

/// Takes the limit, if there is one, and whatever else is in `node_selector`.
pub(crate) fn busy_max(map: &mut Map) -> Result<(Option<Share>, Option<Map>), Fault> {
    let Some(mut selector) = map.take("node_selector").map(Node::map).transpose()? else {
        return Ok((None, None));
    };
    let limit = selector.take("cpu_load_limit");
    let limit = limit.map(|node| node.number("a share above 0, and at most 1,")).transpose()?;
    Ok((limit, Some(selector)))
}
