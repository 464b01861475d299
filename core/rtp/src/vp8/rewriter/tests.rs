//! What a subscriber sees through a rewriter.

use proptest::prelude::*;

use super::*;

const WIDE_MASK: u16 = 0x7fff;

#[derive(Clone, Copy)]
struct Picture {
    picture_id: u16,
    tl0picidx: u8,
    keyidx: u8,
    temporal: u8,
}

impl Picture {
    fn descriptor(self) -> Descriptor {
        Descriptor {
            start: true,
            keyframe: false,
            picture_id: Some(PictureId { value: self.picture_id, mask: WIDE_MASK }),
            tl0picidx: Some(self.tl0picidx),
            temporal: self.temporal,
            sync: false,
            keyidx: Some(self.keyidx),
            len: 6,
        }
    }

    fn synced(self) -> Descriptor {
        Descriptor { sync: true, ..self.descriptor() }
    }

    fn key(self) -> Descriptor {
        Descriptor { keyframe: true, ..self.descriptor() }
    }
}

fn picture(picture_id: u16, temporal: u8) -> Picture {
    Picture { picture_id, tl0picidx: 10, keyidx: 3, temporal }
}

fn id_of(rewrite: Option<Vp8Rewrite>) -> Option<u16> {
    rewrite.map(|rewrite| rewrite.picture_id)
}

#[test]
fn the_first_source_keeps_its_numbers() {
    let mut rewriter = Vp8Rewriter::new(0);
    let expected = Vp8Rewrite { picture_id: 700, tl0picidx: 10, keyidx: 3 };
    assert_eq!(rewriter.rewrite(0, &picture(700, 0).key(), 2), Some(expected));
    assert_eq!(rewriter.rewrite(0, &picture(700, 0).descriptor(), 2), Some(expected));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(701, 2).descriptor(), 2)), Some(701));
}

#[test]
fn another_source_goes_on_where_the_last_ended() {
    let mut rewriter = Vp8Rewriter::new(0);
    let last = Picture { picture_id: 0x7fff, tl0picidx: 255, keyidx: 31, temporal: 0 };
    rewriter.rewrite(0, &last.key(), 2);
    rewriter.switch_to(1);
    let first = Picture { picture_id: 5000, tl0picidx: 77, keyidx: 9, temporal: 0 };
    let expected = Vp8Rewrite { picture_id: 0, tl0picidx: 0, keyidx: 0 };
    assert_eq!(rewriter.rewrite(1, &first.key(), 2), Some(expected));
    let second = Picture { picture_id: 5001, tl0picidx: 78, ..first };
    let expected = Vp8Rewrite { picture_id: 1, tl0picidx: 1, keyidx: 0 };
    assert_eq!(rewriter.rewrite(1, &second.descriptor(), 2), Some(expected));
}

#[test]
fn late_packets_of_the_old_source_keep_their_place_after_a_switch() {
    let mut rewriter = Vp8Rewriter::new(0);
    rewriter.rewrite(0, &picture(10, 0).key(), 2);
    rewriter.rewrite(0, &picture(12, 0).descriptor(), 2);
    rewriter.switch_to(1);
    assert_eq!(id_of(rewriter.rewrite(1, &picture(500, 0).key(), 2)), Some(13));
    // Awaited, seen, and too new for a place before the switch.
    assert_eq!(id_of(rewriter.rewrite(0, &picture(11, 0).descriptor(), 2)), Some(11));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(12, 0).descriptor(), 2)), Some(12));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(13, 0).descriptor(), 2)), None);
    // Before the first of the new source, and of a source that never was.
    assert_eq!(id_of(rewriter.rewrite(1, &picture(499, 0).descriptor(), 2)), None);
    assert_eq!(id_of(rewriter.rewrite(2, &picture(501, 0).descriptor(), 2)), None);
    assert_eq!(id_of(rewriter.rewrite(1, &picture(501, 0).descriptor(), 2)), Some(14));
}

#[test]
fn dropped_temporal_layers_leave_no_gap() {
    let mut rewriter = Vp8Rewriter::new(0);
    rewriter.rewrite(0, &picture(100, 0).key(), 0);
    let passed: Vec<_> = (101..109)
        .filter_map(|id| {
            let temporal = [0u8, 2, 1, 2][usize::from(id) % 4];
            id_of(rewriter.rewrite(0, &picture(id, temporal).descriptor(), 0))
        })
        .collect();
    assert_eq!(passed, [101, 102]);
    // Again, late: the same answers.
    assert_eq!(id_of(rewriter.rewrite(0, &picture(104, 0).descriptor(), 0)), Some(101));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(105, 2).descriptor(), 0)), None);
}

#[test]
fn a_temporal_layer_begins_at_a_frame_that_needs_the_base_layer_alone() {
    let mut rewriter = Vp8Rewriter::new(0);
    rewriter.rewrite(0, &picture(1, 0).key(), 0);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(2, 1).descriptor(), 2)), None);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(3, 2).synced(), 2)), None, "layer 1 comes first");
    assert_eq!(id_of(rewriter.rewrite(0, &picture(4, 1).synced(), 2)), Some(2));
    assert_eq!(rewriter.temporal(), 1);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(5, 2).descriptor(), 2)), None);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(6, 2).synced(), 1)), None, "not wanted");
    assert_eq!(id_of(rewriter.rewrite(0, &picture(7, 2).synced(), 2)), Some(3));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(8, 1).descriptor(), 2)), Some(4));
}

#[test]
fn a_key_frame_opens_all_wanted_layers() {
    let mut rewriter = Vp8Rewriter::new(0);
    rewriter.rewrite(0, &picture(1, 0).key(), 0);
    rewriter.rewrite(0, &picture(2, 0).key(), 2);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(3, 2).descriptor(), 2)), Some(3));
}

#[test]
fn a_frame_is_passed_or_dropped_as_a_whole() {
    let mut rewriter = Vp8Rewriter::new(0);
    rewriter.rewrite(0, &picture(1, 0).key(), 1);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(2, 1).descriptor(), 1)), Some(2));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(2, 1).descriptor(), 0)), Some(2));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(3, 1).descriptor(), 0)), None);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(3, 1).synced(), 1)), None);
}

#[test]
fn the_same_source_after_a_pause_leaves_no_gap() {
    let mut rewriter = Vp8Rewriter::new(0);
    rewriter.rewrite(0, &picture(1, 0).key(), 0);
    rewriter.switch_to(0);
    rewriter.switch_to(0);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(40, 0).key(), 0)), Some(2));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(1, 0).descriptor(), 0)), Some(1));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(39, 0).descriptor(), 0)), None);
}

#[test]
fn a_restarted_encoder_leaves_no_gap() {
    let mut rewriter = Vp8Rewriter::new(0);
    rewriter.rewrite(0, &picture(20_000, 0).key(), 0);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(3, 0).key(), 0)), Some(20_001));
    assert_eq!(id_of(rewriter.rewrite(0, &picture(4, 0).descriptor(), 0)), Some(20_002));
}

#[test]
fn a_late_packet_of_an_old_key_frame_restarts_nothing() {
    let mut rewriter = Vp8Rewriter::new(0);
    rewriter.rewrite(0, &picture(20, 0).key(), 0);
    assert_eq!(rewriter.rewrite(0, &picture(18, 0).key(), 0), None);
    assert_eq!(id_of(rewriter.rewrite(0, &picture(21, 0).descriptor(), 0)), Some(21));
}

#[test]
fn fields_are_overwritten_in_their_own_width() {
    let rewrite = Vp8Rewrite { picture_id: 0x1234, tl0picidx: 0x56, keyidx: 7 };
    let mut wide = [0x90, 0xf0, 0x80, 0x00, 0x00, 0b1010_0000, 0xaa];
    rewrite.apply(&mut wide);
    assert_eq!(wide, [0x90, 0xf0, 0x92, 0x34, 0x56, 0b1010_0111, 0xaa]);
    let mut narrow = [0x90, 0xa0, 0x00, 0b1011_1111, 0xaa];
    rewrite.apply(&mut narrow);
    assert_eq!(narrow, [0x90, 0xa0, 0x34, 0b1011_1111, 0xaa]);
    let mut keyidx = [0x80, 0x10, 0xe0];
    rewrite.apply(&mut keyidx);
    assert_eq!(keyidx, [0x80, 0x10, 0xe7]);
    let mut bare = [0x10, 0xf0, 0x80];
    rewrite.apply(&mut bare);
    assert_eq!(bare, [0x10, 0xf0, 0x80]);
}

#[test]
fn a_payload_without_picture_id_passes_as_it_is() {
    let mut rewriter = Vp8Rewriter::new(0);
    let mut payload = [0x90, 0x70, 9, 0b0110_0011, 0x01];
    let descriptor = Descriptor::parse(&payload).unwrap();
    rewriter.rewrite(0, &descriptor, 0).unwrap().apply(&mut payload);
    assert_eq!(payload, [0x90, 0x70, 9, 0b0110_0011, 0x01]);
}

proptest! {
    #[test]
    fn what_passes_counts_up_by_one(
        // (temporal, sync, key, switch, target)
        frames in proptest::collection::vec(
            (0u8..3, any::<bool>(), 0u8..20, 0u8..30, 0u8..3), 1..400,
        ),
        starts: [u16; 3],
    ) {
        let mut rewriter = Vp8Rewriter::new(0);
        let mut next = starts.map(|id| id & WIDE_MASK);
        let mut source = 0u8;
        let mut last: Option<u16> = None;
        for (index, (temporal, sync, key, switch, target)) in frames.into_iter().enumerate() {
            let switched = switch < 3 && switch != source;
            if switched {
                source = switch;
                rewriter.switch_to(source);
            }
            let key = index == 0 || switched || key == 0;
            let id = &mut next[usize::from(source)];
            let picture = picture(*id, if key { 0 } else { temporal });
            *id = (*id + 1) & WIDE_MASK;
            let descriptor = Descriptor { sync, keyframe: key, ..picture.descriptor() };
            let first = rewriter.rewrite(source, &descriptor, target);
            // Every further packet of the frame agrees, whatever is wanted by then.
            let rest = Descriptor { start: false, keyframe: false, ..descriptor };
            prop_assert_eq!(rewriter.rewrite(source, &rest, 2 - target), first);
            if key {
                prop_assert!(first.is_some());
            }
            if let Some(id) = id_of(first) {
                if let Some(last) = last {
                    prop_assert_eq!(id, (last + 1) & WIDE_MASK);
                }
                last = Some(id);
            }
        }
    }

    #[test]
    fn any_packets_are_rewritten_without_harm(
        payloads in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..12), 0u8..3, 0u8..4), 1..200,
        ),
    ) {
        let mut rewriter = Vp8Rewriter::new(0);
        for (mut payload, source, target) in payloads {
            if let Some(descriptor) = Descriptor::parse(&payload) {
                if descriptor.keyframe {
                    rewriter.switch_to(source);
                }
                if let Some(rewrite) = rewriter.rewrite(source, &descriptor, target) {
                    let len = payload.len();
                    rewrite.apply(&mut payload);
                    prop_assert_eq!(payload.len(), len);
                    let applied = Descriptor::parse(&payload).unwrap();
                    prop_assert_eq!(
                        Descriptor {
                            picture_id: descriptor.picture_id,
                            tl0picidx: descriptor.tl0picidx,
                            keyidx: descriptor.keyidx,
                            ..applied
                        },
                        descriptor
                    );
                }
            }
        }
    }
}
