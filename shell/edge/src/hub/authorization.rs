//! What a token still allows while its session lasts: rights that end, tokens that are revoked.
//!
//! Guarantees: a right is gone within a second of its end by the system's clock, and within [`LOOK_AGAIN`] of
//! the clock being set past it; who resumes has the rights of the token that it came with, if no moderator has changed
//! them; a revoked token's session is ended in the turn that hears of it; a client has a refresh token that is taken
//! seconds after the key of those has changed.
//! Not here: which rights there are and when they end (`wire::grant`), what their loss undoes (`sfu::control`).

use std::sync::Arc;
use std::time::Duration;

use model::{LogData, PeerId};
use sfu::control::{DepartureReason, Input};
use wire::access::Access;
use wire::grant::Permission;
use wire::token::{TokenError, VerifiedToken};

use super::seat::Seat;
use super::{Hub, REFRESH_APART, Timer, translate};
use crate::session::Refusal;

/// How long at most until a participant's rights are judged again: the system's clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

impl Hub {
    /// Seconds of Unix time.
    pub(super) const fn unix_s(&self) -> u64 {
        self.unix_ms / 1000
    }

    /// Milliseconds of Unix time, as the wire has them.
    pub(super) fn unix_ms_wire(&self) -> i64 {
        i64::try_from(self.unix_ms).unwrap_or(i64::MAX)
    }

    /// Refuses a token that is believed no more, of those that were when they came.
    pub(super) fn judge_again(&self, token: &VerifiedToken) -> Result<(), Refusal> {
        match self.config.access.borrow().judge_again(token) {
            Ok(()) => Ok(()),
            Err(TokenError::Revoked) => Err(Refusal::NotAllowed("the token is revoked")),
            Err(_) => Err(Refusal::NotAllowed("the key of the token is gone")),
        }
    }

    /// Hears by what people are let in from now on: ends the sessions of tokens that are revoked by now, and gives
    /// those another refresh token whose own would be refused.
    pub(super) fn admit_anew(&mut self) {
        let access = Arc::clone(&self.config.access.borrow_and_update());
        let before = std::mem::replace(&mut self.access, Arc::clone(&access));
        self.refresh_others(&before);
        let seats = self.seats.iter();
        let revoked = seats.filter(|(_, seat)| access.revocations.revokes(&seat.token));
        let revoked: Vec<PeerId> = revoked.map(|(peer, _)| *peer).collect();
        for peer in revoked {
            self.current = Some(peer);
            self.tell(Input::Depart(peer, DepartureReason::Revoked));
        }
    }

    /// Sets the times at which those get a token whose own was signed by `before` and is taken no more.
    fn refresh_others(&mut self, before: &Access) {
        let keys = &self.access.keys;
        let is_refused = |seat: &Seat| {
            let issuer = seat.token.issuer.expose();
            !keys.takes_refreshed_by(&before.keys, issuer) && keys.has(issuer, &seat.token.key)
        };
        let refused = self.seats.iter().filter(|(_, seat)| is_refused(seat));
        let mut at = self.now;
        let mut count = 0_usize;
        for (peer, _) in refused {
            self.timers.set(at, Timer::Refresh(*peer));
            at += REFRESH_APART;
            count += 1;
        }
        if count > 0 {
            let participants = LogData(count);
            crate::log!(
                INFO,
                "the key of refresh tokens is another one: participants are given one that it signs",
                participants = participants
            );
        }
    }

    /// Leaves the participant what its token allows by now, and looks again when more of that ends.
    pub(super) fn apply_rights(&mut self, peer: PeerId) {
        self.timers.clear(Timer::End(peer));
        let now = self.unix_s();
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        let next = seat.token.ends.next(now);
        let Some(left) = seat.token.permission(now) else {
            return self.tell(Input::Depart(peer, DepartureReason::Expired));
        };
        if left != seat.permission {
            self.set_rights(peer, left);
        }
        if let Some(end) = next {
            let left = Duration::from_millis(end.saturating_mul(1000).saturating_sub(self.unix_ms));
            self.timers.set(self.now + left.min(LOOK_AGAIN), Timer::End(peer));
        }
    }

    /// The participant may do this from now on.
    pub(super) fn set_rights(&mut self, peer: PeerId, permission: Permission) {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        let visibility = translate::visibility(&permission);
        let allowed = translate::permission(&permission);
        let room = seat.room;
        let was = std::mem::replace(&mut seat.permission, permission);
        let is_recording_news = was.recorder != seat.permission.recorder;
        self.tell(Input::Permit(peer, allowed));
        self.tell(Input::Show(peer, visibility));
        if is_recording_news {
            self.note_room(room);
        }
    }
}
