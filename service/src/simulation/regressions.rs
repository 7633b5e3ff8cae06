//! Short histories that are worth keeping: each must go well, and each is one in which a broken variant does not. The
//! harness found and shrunk them. A history that ever violates an invariant of the real code belongs here too, by the name
//! of what was wrong.

use super::broken::{self, Broken};
use super::history::Act::{Look, Password, Remove, Send, Sync, Watch};
use super::history::Consistency::{One, Quorum};
use super::history::Fate::RequestLost;
use super::history::Op::{Act, Change, Fail, Forge, GiveUp, Replay, Run, Skew, Step, Stop, Wait};
use super::history::Part::Mailbox;
use super::history::{History, Setting};
use super::ledger::Invariant;
use super::world::happens;

/// Asserts that a history goes well, and does not in a broken variant.
fn goes_well_but_for(broken: Broken, invariant: Invariant, history: &History) {
    assert_eq!(happens(history), None);
    let violation = broken::with(Some(broken), || happens(history));
    assert_eq!(violation.map(|violation| violation.invariant), Some(invariant));
}

#[test]
fn what_is_older_than_the_newest_fetched() {
    let history = History {
        setting: Setting { consistency: Quorum, pods: 2, devices: 3, slow: false, page: 1 },
        ops: vec![
            (1989, Act(5, Send(3))),
            (14642, Step(43610)),
            (55268, Act(6, Password)),
            (41339, Change(2, 4)),
            (29642, Act(8, Send(3))),
            (34273, Act(5, Send(3))),
        ],
    };
    goes_well_but_for(Broken::AfterNewestFetched, Invariant::NothingLost, &history);
}

#[test]
fn what_arrives_behind_the_clock() {
    let history = History {
        setting: Setting { consistency: Quorum, pods: 2, devices: 1, slow: false, page: 2 },
        ops: vec![
            (47350, Act(0, Sync)),
            (16773, Run(14987)),
            (2418, Act(2, Remove(3))),
            (4644, Run(15765)),
            (33941, Act(0, Sync)),
            (34762, Run(4372)),
            (17363, Run(9845)),
            (23957, Run(29534)),
            (23040, Run(31699)),
            (44971, Act(2, Send(5))),
            (45624, Run(46755)),
        ],
    };
    goes_well_but_for(Broken::KnownGoodWithoutWindow, Invariant::KnownGood, &history);
}

#[test]
fn what_is_fetched_out_of_order() {
    let history = History {
        setting: Setting { consistency: One, pods: 2, devices: 1, slow: false, page: 1 },
        ops: vec![
            (30576, Act(1, Sync)),
            (24775, Act(0, Send(5))),
            (24144, Act(2, Look)),
            (6146, Run(23967)),
            (21609, Run(55887)),
            (3724, Run(59244)),
            (48787, Act(1, Send(7))),
            (43377, Run(3019)),
            (52092, GiveUp(2)),
            (24715, Run(139)),
            (63248, Act(0, Sync)),
            (34136, Run(13375)),
            (25173, Run(27704)),
            (3436, Step(59490)),
            (36673, Act(1, Watch)),
            (63218, Run(42358)),
            (17741, Run(28111)),
            (51719, Act(0, Send(7))),
            (49836, Step(43621)),
            (61657, Forge(2)),
            (37139, Run(22924)),
            (16979, Replay(58527)),
            (41114, Step(9930)),
            (9008, Act(2, Send(3))),
            (58269, Run(55004)),
            (10711, Run(26502)),
            (39336, Wait(252_673)),
            (62389, Wait(260_723)),
            (30974, Act(1, Look)),
            (52875, Run(46871)),
        ],
    };
    goes_well_but_for(Broken::KnownGoodPastUnfetched, Invariant::KnownGood, &history);
}

#[test]
fn what_is_listed_while_it_is_stored() {
    let history = History {
        setting: Setting { consistency: Quorum, pods: 2, devices: 1, slow: false, page: 2 },
        ops: vec![
            (34478, Act(1, Sync)),
            (45933, Run(27027)),
            (64397, Stop(0)),
            (61877, Stop(2)),
            (15646, Run(27675)),
            (502, Act(1, Send(7))),
            (65288, Run(43111)),
        ],
    };
    goes_well_but_for(Broken::ContentLast, Invariant::ContentFirst, &history);
}

#[test]
fn what_is_listed_to_a_client_that_dies() {
    let history = History {
        setting: Setting { consistency: Quorum, pods: 2, devices: 1, slow: false, page: 2 },
        ops: vec![
            (48869, Act(0, Look)),
            (46975, Run(53851)),
            (26281, Act(2, Send(2))),
            (53107, Act(1, Password)),
            (25534, Step(30621)),
            (32569, Act(0, Send(7))),
            (3761, Run(12636)),
            (47680, Run(51262)),
            (20218, Act(2, Sync)),
            (46568, Run(29334)),
            (39871, Wait(24016)),
            (44597, Run(14155)),
            (14828, Fail(Mailbox, RequestLost)),
            (7566, Run(33825)),
            (10829, Run(15241)),
            (13643, Act(0, Send(6))),
            (5825, Wait(241_935)),
            (39791, Step(5212)),
            (1295, Run(47889)),
            (37027, Act(2, Look)),
            (35712, Run(58319)),
            (36531, Run(1637)),
            (55045, Wait(33968)),
            (49248, Run(29178)),
            (60259, Step(58420)),
            (30893, Act(2, Watch)),
            (10856, Run(45113)),
        ],
    };
    goes_well_but_for(Broken::ConfirmedOnListing, Invariant::KnownGood, &history);
}

#[test]
fn what_is_sent_long_after_it_was_written() {
    let history = History {
        setting: Setting { consistency: One, pods: 2, devices: 1, slow: false, page: 4 },
        ops: vec![
            (22410, Act(1, Send(7))),
            (20131, Run(25139)),
            (52722, Skew(0, 20)),
            (9169, Wait(151_916)),
            (30924, Act(1, Watch)),
            (48574, Run(62759)),
            (53830, Wait(100_495)),
            (31402, Act(2, Sync)),
            (61165, Run(59205)),
            (44557, Act(1, Send(7))),
            (31223, Run(44641)),
            (3173, Step(16609)),
            (9256, Run(12179)),
            (31791, Run(34585)),
            (12542, Wait(16027)),
            (59923, Run(19392)),
            (56302, Act(0, Send(3))),
            (28298, Run(10636)),
            (55013, Run(9370)),
            (35638, Act(2, Sync)),
            (28746, Run(17451)),
            (65437, Step(23631)),
            (840, Wait(24351)),
            (17125, Run(43841)),
        ],
    };
    goes_well_but_for(Broken::IdWindowTooLong, Invariant::KnownGood, &history);
}

#[test]
fn what_shows_up_after_the_window() {
    let history = History {
        setting: Setting { consistency: One, pods: 1, devices: 3, slow: true, page: 2 },
        ops: vec![
            (19286, Act(7, Watch)),
            (63021, Run(3791)),
            (2774, Step(11398)),
            (25207, Act(7, Send(6))),
            (42984, Run(65327)),
            (14443, Wait(281_557)),
            (34408, Act(8, Sync)),
            (30887, Run(32417)),
            (39608, Run(35671)),
            (1746, Act(8, Sync)),
            (33637, Wait(228_733)),
            (37632, Act(3, Sync)),
            (30772, Act(2, Look)),
        ],
    };
    goes_well_but_for(Broken::NoReconciliation, Invariant::NothingLost, &history);
}

#[test]
fn what_never_got_into_the_arrivals() {
    let history = History {
        setting: Setting { consistency: One, pods: 3, devices: 2, slow: true, page: 5 },
        ops: vec![
            (1623, Act(1, Password)),
            (54982, Act(2, Sync)),
            (19375, Run(3694)),
            (18365, Run(54792)),
            (30875, Act(1, Send(2))),
            (19645, Step(6884)),
            (33950, Run(21831)),
            (64230, Step(1514)),
            (15060, Act(1, Look)),
        ],
    };
    goes_well_but_for(Broken::ArrivalsAlone, Invariant::NothingLost, &history);
}

#[test]
fn what_is_repeated_or_forged() {
    let history = History {
        setting: Setting { consistency: Quorum, pods: 1, devices: 2, slow: true, page: 3 },
        ops: vec![
            (50473, Act(1, Password)),
            (59703, Run(31149)),
            (23931, Run(36637)),
            (45431, Act(1, Look)),
            (33522, Run(15415)),
            (8130, Replay(2113)),
        ],
    };
    goes_well_but_for(Broken::NonceFirst, Invariant::NonceOnce, &history);
}
