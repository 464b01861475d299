//! One negotiation driven by lines of JSON, so that a real client can judge its answers
//! (`tests/judges/chromium.mjs`).
//!
//! In: `{"want": "TR_x", "kind": "video", "ssrc": 1}`, `{"unwant": "TR_x"}`, `{"require": true}` or
//! `{"offer": "v=0…"}`. Out, for the last two: one line of JSON each.

use std::error::Error;
use std::io::{BufRead, Write};

use model::{Codec, ParticipantSid, TrackSid};
use serde_json::{Value, json};
use wire::negotiation::{AcceptedCodecs, Negotiation, Subscription};
use wire::sdp::{Fingerprint, IceCredentials, LocalTransport, Offer};

fn main() -> Result<(), Box<dyn Error>> {
    let fingerprint = Fingerprint::from_value(&format!("sha-256 {}", ["AB"; 32].join(":")));
    let local = LocalTransport {
        ice: IceCredentials::new("ours", "0123456789012345678901"),
        fingerprint: fingerprint.ok_or("fingerprint")?,
        candidates: Vec::new(),
        candidates_in_answer: true,
    };
    let video = vec![Codec::Vp8, Codec::H264];
    let mut negotiation =
        Negotiation::new(local, AcceptedCodecs { audio: vec![Codec::Opus], video });
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        if let Some(reply) = serve(&mut negotiation, &serde_json::from_str(&line?)?)? {
            writeln!(out, "{reply}")?;
            out.flush()?;
        }
    }
    Ok(())
}

fn serve(negotiation: &mut Negotiation, line: &Value) -> Result<Option<Value>, Box<dyn Error>> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    if let Some(track) = text("want") {
        let ssrc = line.get("ssrc").and_then(Value::as_u64).unwrap_or(1);
        let ssrc = u32::try_from(ssrc)?;
        let is_video = text("kind") == Some("video");
        negotiation.want(Subscription {
            track: TrackSid::from_wire(track),
            participant: ParticipantSid::from_wire("PA_someone"),
            sync_group: Some("camera".into()),
            codec: if is_video { Codec::Vp8 } else { Codec::Opus },
            ssrc,
            rtx_ssrc: is_video.then_some(ssrc + 1),
        });
    } else if let Some(track) = text("unwant") {
        negotiation.unwant(&TrackSid::from_wire(track));
    } else if let Some(offer) = text("offer") {
        let outcome = negotiation.offer(&Offer::parse(offer)?)?;
        let started: Vec<_> =
            outcome.started.iter().map(|section| section.mid.as_str().to_owned()).collect();
        let ended: Vec<_> = outcome.ended.iter().map(|end| end.mid.as_str().to_owned()).collect();
        return Ok(Some(json!({ "answer": outcome.answer, "started": started, "ended": ended })));
    } else {
        let requirement = negotiation.requirement();
        return Ok(Some(json!(requirement.map(|required| [required.audios, required.videos]))));
    }
    Ok(None)
}
