//! What a join or a resume takes before it is answered: of its token's budget, and of the node's memory.
//!
//! Owns: how large the answer about a room may be, reckoned from above without putting it together.
//! Guarantees: nobody joins, and nobody is put out by somebody who joins, before there is room for the answer.
//! Not here: how much room there is (`answers`), what the answer says (`admission`).

use model::{RoomId, RoomName};
use sfu::control::{Participant, Profile};
use wire::proto;
use wire::proto::signal_response::Message;

use super::Hub;
use crate::answers::{AnswerPart, Wanted};
use crate::limits::{
    ANSWER_ATTRIBUTE_BYTES, ANSWER_PARTICIPANT_BYTES, ANSWER_TRACK_BYTES, ANSWERS_ROOM_BYTES_MAX,
    JOIN_BYTES, JOIN_BYTES_PRICE_MAX, JOIN_PRICE,
};
use crate::session::{Knock, Outgoing, Refusal};
use crate::visits;

/// A message about a whole room.
pub(super) fn told_of_room(message: Message, part: AnswerPart) -> Outgoing {
    let response = proto::SignalResponse { message: Some(message) };
    Outgoing::Answer(Box::new((response, part)))
}

impl Hub {
    /// Takes what the answer costs, once, and room for it; or says what to wait for.
    pub(super) fn reserve_answer(
        &mut self,
        knock: &mut Knock,
        name: &RoomName,
    ) -> Result<Option<Wanted>, Refusal> {
        // All of the room are told of it, and it is told of all.
        let room = self.control.room_named(name);
        let around = room.map_or(0, |room| u64::try_from(room.participants.len()).unwrap_or(0));
        let room = room.map(|room| room.room);
        let whose = visits::whose(&knock.token, name);
        let is_paid = knock.part.is_some();
        if !is_paid && !self.joins.take_many(self.now, &whose, JOIN_PRICE + around) {
            return Err(Refusal::TooOften);
        }
        let weight = room.map_or(0, |room| self.answer_weight(room)) + newcomer_weight(knock);
        let more = bytes_price(weight).saturating_sub(around);
        if !is_paid && more > 0 && !self.joins.take_many(self.now, &whose, more) {
            return Err(Refusal::TooOften);
        }
        if weight > ANSWERS_ROOM_BYTES_MAX {
            return Err(Refusal::Unavailable(
                "the room is full: its participants have more to say than can be told",
            ));
        }
        if knock.part.as_mut().is_some_and(|part| part.fit(weight)) {
            return Ok(None);
        }
        // What it has waited for is too small by now, and there is no more.
        knock.part = None;
        let gathering = room.and_then(|room| self.gatherings.get(&room));
        let answers = gathering.map_or_else(|| self.answers.of_room(), |held| held.answers.clone());
        match answers.take(weight) {
            Ok(part) => {
                knock.part = Some(part);
                Ok(None)
            }
            Err(wanted) => Ok(Some(wanted.with_margin())),
        }
    }

    /// Bytes that a room and all in it take at most, decoded or written in protobuf.
    pub(super) fn answer_weight(&self, room: RoomId) -> usize {
        let each = self.control.participants(room).map(|held| self.participant_weight(held));
        self.room_weight(room) + each.sum::<usize>()
    }

    /// The same of what is said of the room itself.
    pub(super) fn room_weight(&self, room: RoomId) -> usize {
        let held = self.control.room(room);
        let said = held.map_or(0, |room| room.name.expose().len() + room.metadata.expose().len());
        ANSWER_PARTICIPANT_BYTES + said
    }

    fn participant_weight(&self, participant: &Participant) -> usize {
        let Some(seat) = self.seats.get(&participant.peer) else {
            return 0;
        };
        let tracks = participant.tracks.iter().filter_map(|track| seat.cards.get(track));
        let tracks = tracks.map(|card| ANSWER_TRACK_BYTES + card.name.len() + card.stream.len());
        participant.identity.expose().len()
            + profile_weight(&participant.profile)
            + seat.token.claims.kind_details.len() * size_of::<i32>()
            + tracks.sum::<usize>()
    }
}

fn profile_weight(profile: &Profile) -> usize {
    let attributes = profile.attributes.iter();
    let attributes = attributes.map(|(key, value)| attribute_weight(key, value));
    ANSWER_PARTICIPANT_BYTES
        + profile.name.len()
        + profile.metadata.len()
        + attributes.sum::<usize>()
}

fn attribute_weight(key: &str, value: &str) -> usize {
    ANSWER_ATTRIBUTE_BYTES + key.len() + value.len()
}

/// Of whoever comes, which brings some of its profile and whose token has some.
fn newcomer_weight(knock: &Knock) -> usize {
    let (claims, join) = (&knock.token.claims, &knock.join);
    let held = claims.attributes.iter().map(|(key, value)| attribute_weight(key, value));
    let brought =
        join.participant_attributes.iter().map(|(key, value)| attribute_weight(key, value));
    ANSWER_PARTICIPANT_BYTES
        + claims.identity.len()
        + claims.name.len()
        + claims.metadata.len().max(join.metadata.len())
        + claims.kind_details.len() * size_of::<i32>()
        + held.sum::<usize>()
        + brought.sum::<usize>()
}

/// What so many bytes count in the budget of joins.
fn bytes_price(weight: usize) -> u64 {
    u64::try_from(weight / JOIN_BYTES).unwrap_or(u64::MAX).min(JOIN_BYTES_PRICE_MAX)
}
