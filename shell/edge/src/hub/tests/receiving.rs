//! What subscribers are told and sent: sections, layers, reports.

use super::*;

#[test]
fn a_client_without_room_for_a_track_is_asked_for_sections_and_places_it_in_its_next_offer() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    assert!(
        first!(bob.told(), Told::MediaSectionsRequirement(needed) => needed.num_audios).is_some()
    );
    node.sent();
    assert_eq!(received(&alice.told()), 0);
    node.ask(&bob, Asked::Offer(description(CHROMIUM_JOIN, 8)));
    assert_eq!(received(&alice.told()), 2, "from now on somebody receives them");
    let mids = first!(bob.told(), Told::Answer(answer) => answer.mid_to_track_id.len());
    assert_eq!(mids, Some(2));
    let subscribed = node.instructions();
    let specs = subscribed.iter().filter_map(|instruction| {
        if let Instruction::Subscribe(spec) = instruction { Some(spec) } else { None }
    });
    let ssrcs: BTreeSet<u32> = specs.flat_map(|spec| [spec.ssrc, spec.rtx_ssrc]).collect();
    assert_eq!(ssrcs.len(), 4, "all different");
}

#[test]
fn a_subscription_that_waits_for_another_section_gets_other_ssrcs() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    node.publish(&alice);
    let closed = CHROMIUM_JOIN.replace("a=recvonly", "a=inactive");
    let mut seen: BTreeSet<u32> = BTreeSet::new();
    for round in 0..2 {
        node.sent();
        node.ask(&bob, Asked::Offer(description(CHROMIUM_JOIN, 8 + 2 * round)));
        for instruction in node.instructions() {
            if let Instruction::Subscribe(spec) = instruction {
                assert!(seen.insert(spec.ssrc) && seen.insert(spec.rtx_ssrc), "told before");
            }
        }
        node.ask(&bob, Asked::Offer(description(&closed, 9 + 2 * round)));
        let ended = node.instructions();
        let ended = ended.iter().filter(|i| matches!(i, Instruction::Unsubscribe { .. }));
        assert_eq!(ended.count(), 2);
    }
    assert_eq!(seen.len(), 8, "two tracks, placed twice");
}

#[test]
fn settings_and_wishes_reach_the_worker() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    let mut bob = node.join("bob");
    let told = bob.told();
    let mids = first!(told, Told::Answer(answer) => answer.mid_to_track_id.clone()).unwrap();
    let camera = mids.values().find(|sid| sid.starts_with("TR_V")).unwrap().clone();
    node.sent();
    let track_sids = vec![camera.clone()];
    node.ask(
        &bob,
        Asked::TrackSetting(proto::UpdateTrackSettings {
            track_sids: track_sids.clone(),
            disabled: true,
            ..Default::default()
        }),
    );
    assert!(matches!(node.instructions()[..], [Instruction::Limit { layer: None, .. }]));
    node.ask(
        &bob,
        Asked::Subscription(proto::UpdateSubscription {
            track_sids,
            subscribe: false,
            ..Default::default()
        }),
    );
    assert!(matches!(node.instructions()[..], [Instruction::Unsubscribe { .. }]));
    let told = bob.told();
    assert!(first!(told, Told::MediaSectionsRequirement(needed) => needed.num_videos) == Some(0));
    node.ask(
        &bob,
        Asked::Subscription(proto::UpdateSubscription {
            track_sids: vec!["TR_nothing".to_owned()],
            subscribe: true,
            ..Default::default()
        }),
    );
    let refused = first!(bob.told(), Told::SubscriptionResponse(response) => response.err);
    assert_eq!(refused, Some(proto::SubscriptionError::SeTrackNotfound.into()));
}

#[test]
fn an_answer_never_names_a_track_before_its_update() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    bob.told();
    let request = |client: &Client, message| {
        let message = Some(message);
        ToHub::Request(
            client.session,
            Box::new(proto::SignalRequest { message }),
            DecodingPart::default(),
        )
    };
    let turn = [
        request(&alice, add_track(CAMERA, TrackKind::Video)),
        request(&alice, Asked::Offer(description(CHROMIUM_PUBLISH, 2))),
        request(&bob, Asked::Offer(description(CHROMIUM_JOIN, 8))),
    ];
    node.hub.turn(node.now, unix_ms(node.now), turn.into_iter());
    let told = bob.told();
    let update = position(&told, |message| {
        matches!(message,
        Told::Update(update) if update.participants[0].tracks.len() == 1)
    });
    let answer = position(&told, |message| {
        matches!(message,
        Told::Answer(answer) if answer.mid_to_track_id.len() == 1)
    });
    assert!(update < answer);
}

#[test]
fn a_simulated_bandwidth_caps_what_its_client_is_sent_until_it_is_lifted() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let peer = node.peer(&alice);
    node.sent();
    for (asked, expected) in [(300_000, Some(300_000)), (0, None), (-1, None), (i64::MIN, None)] {
        let scenario = Some(proto::simulate_scenario::Scenario::SubscriberBandwidth(asked));
        node.ask(&alice, Asked::Simulate(proto::SimulateScenario { scenario }));
        let expected = expected.map(DataRate::from_bps);
        let caps = node.instructions().into_iter().filter_map(|instruction| {
            if let Instruction::Cap { peer, rate } = instruction {
                Some((peer, rate))
            } else {
                None
            }
        });
        assert_eq!(caps.collect::<Vec<_>>(), [(peer, expected)], "for {asked}");
    }
}

#[test]
fn reports_become_messages() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.publish(&alice);
    let mut bob = node.join("bob");
    let from = node.peer(&alice);
    bob.told();
    let track = TrackId(0);
    let reports = [
        Report::Level { track, level: Some(0.5) },
        Report::Quality { peer: from, loss_up: 0.0, loss_down: 0.0, rtt_ms: Some(9) },
        Report::Bandwidth { subscription: SubscriptionId(0), paused: true },
    ];
    for report in reports {
        node.tell(ToHub::Worker(FromWorker::Report(report)));
    }
    node.wait(Duration::from_secs(6));
    let told = bob.told();
    assert!(
        first!(told, Told::SpeakersChanged(changed) => changed.speakers[0].active) == Some(true)
    );
    let excellent = i32::from(proto::ConnectionQuality::Excellent);
    let quality = first!(told, Told::ConnectionQuality(update) => update.updates[0].quality);
    assert_eq!(quality, Some(excellent));
    assert!(first!(told, Told::StreamStateUpdate(update) => update.stream_states.len()) == Some(1));
    assert!(
        first!(alice.told(), Told::SpeakersChanged(changed) => changed.speakers.len()).is_some()
    );
}

#[test]
fn an_unwatched_camera_is_told_to_stop_its_layers() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.publish(&alice);
    alice.told();
    node.wait(Duration::from_secs(6));
    let told = alice.told();
    let update = first!(told, Told::SubscribedQualityUpdate(update) => update).unwrap();
    assert_eq!(update.subscribed_codecs[0].codec, "vp8");
    assert!(update.subscribed_codecs[0].qualities.iter().all(|quality| !quality.enabled));
}

#[test]
fn an_ice_restart_renews_both_ends() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    alice.told();
    node.sent();
    let line = CHROMIUM_JOIN.lines().find(|line| line.starts_with("a=ice-ufrag:")).unwrap();
    let restarted = CHROMIUM_JOIN.replace(line.trim_end(), "a=ice-ufrag:fresh");
    node.ask(&alice, Asked::Offer(description(&restarted, 8)));
    let sent = node.sent();
    let restart = sent.iter().find_map(|(_, sent)| {
        let ToWorker::RestartIce { local, remote, .. } = sent else { return None };
        Some((local.ufrag.clone(), remote.ufrag.clone()))
    });
    let (local, remote) = restart.expect("told");
    assert_eq!(&*remote, "fresh");
    let answer = first!(alice.told(), Told::Answer(answer) => answer.sdp.clone()).unwrap();
    assert!(answer.contains(&format!("a=ice-ufrag:{local}")));
}
