//! What rooms are like that nobody has said anything else of: `room` of the settings.
//!
//! Guarantees: what would let in whom LiveKit's server keeps out is not passed over.
//! Not here: how many people a node and a room take at most (`edge`), what the request says that makes a room.

use std::time::Duration;

use crate::Fault;
use crate::yaml::{Map, Node};

/// Rooms, where neither a token nor a back end says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rooms {
    /// Whether a join makes a room that is not there. Else a back end must have made it.
    pub are_made_by_joins: bool,
    /// Participants in a room, if that is said.
    pub participants_max: Option<u32>,
    /// How long a room waits for its first participant, if that is said.
    pub empty: Option<Duration>,
    /// How long it outlives its last one, if that is said.
    pub departure: Option<Duration>,
}

/// Takes what has an effect, and whatever else is in `room`.
pub(crate) fn rooms(map: &mut Map) -> Result<(Rooms, Option<Map>), Fault> {
    let mut room = map.take("room").map(Node::map).transpose()?;
    let mut within = |name: &'static str| room.as_mut().and_then(|room| room.take(name));
    let are_made_by_joins = within("auto_create").map_or(Ok(true), |node| node.boolean())?;
    let mut number = |name: &'static str, what: &str| -> Result<Option<u32>, Fault> {
        // As LiveKit has it, 0 is as if nothing was said.
        let number = within(name).map(|node| node.number(what)).transpose()?;
        Ok(number.filter(|number| *number > 0))
    };
    let participants_max = number("max_participants", "a number of people")?;
    let mut seconds = |name| -> Result<Option<Duration>, Fault> {
        Ok(number(name, "a number of seconds")?.map(|seconds| Duration::from_secs(seconds.into())))
    };
    let (empty, departure) = (seconds("empty_timeout")?, seconds("departure_timeout")?);
    Ok((Rooms { are_made_by_joins, participants_max, empty, departure }, room))
}
