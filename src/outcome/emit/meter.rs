//! How much of each step's output becomes events: its beginning and its end. Pure.

use std::collections::{HashMap, VecDeque};

use crate::event::{Event, Place, Stream, Warning};
use crate::name::ServerName;

/// Bytes of a step's output that are passed on as they come.
const BEGINNING: usize = 2 << 20;
/// Bytes of its end, which are passed on with it.
const END: usize = 64 << 10;
/// What a line costs beside its text: an event says more than the line.
const LINE: usize = 200;

/// The output of all steps that run.
#[derive(Default)]
pub(super) struct Meters(HashMap<ServerName, Vec<Meter>>);

/// The output of one step.
struct Meter {
    place: Place,
    /// Bytes of the beginning that are still to come.
    room: usize,
    end: VecDeque<(Stream, String)>,
    /// Bytes of the end.
    held: usize,
    lines: u64,
    bytes: u64,
}

impl Meters {
    /// Takes a line of output.
    ///
    /// `None`: the beginning is full. The line is kept for the step's end, as long as no others push it out.
    pub(super) fn admit(&mut self, event: Event) -> Option<Event> {
        let Event::Output { place, stream, line } = event else { return Some(event) };
        let meters = self.0.entry(place.server.clone()).or_default();
        let at = meters.iter().position(|meter| meter.place == place).unwrap_or_else(|| {
            meters.push(Meter::new(place.clone()));
            meters.len() - 1
        });
        let meter = &mut meters[at];
        let cost = line.len() + LINE;
        if cost <= meter.room {
            meter.room -= cost;
            return Some(Event::Output { place, stream, line });
        }
        // No later and shorter line comes before this one.
        meter.room = 0;
        meter.hold(stream, line);
        None
    }

    /// Gives out what is to come before an event: the end of the output of a step that it ends.
    pub(super) fn before(&mut self, event: &Event) -> Vec<Event> {
        let (server, step) = match event {
            Event::StepFinished { place, .. } => (&place.server, Some(place)),
            Event::UndoFinished { server, .. } => (server, None),
            _ => return Vec::new(),
        };
        let Some(meters) = self.0.get_mut(server) else { return Vec::new() };
        let ended = meters.extract_if(.., |meter| step.is_none_or(|place| meter.place == *place));
        let said = ended.flat_map(Meter::said).collect();
        if meters.is_empty() {
            self.0.remove(server);
        }
        said
    }

    /// Gives out what is kept of all steps.
    pub(super) fn all(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.0).into_values().flatten().flat_map(Meter::said).collect()
    }
}

impl Meter {
    fn new(place: Place) -> Self {
        Self { place, room: BEGINNING, end: VecDeque::new(), held: 0, lines: 0, bytes: 0 }
    }

    fn hold(&mut self, stream: Stream, line: String) {
        self.held += line.len() + LINE;
        self.end.push_back((stream, line));
        while self.held > END
            && let Some((_, line)) = self.end.pop_front()
        {
            self.held -= line.len() + LINE;
            self.lines += 1;
            self.bytes += line.len() as u64 + 1;
        }
    }

    fn said(self) -> Vec<Event> {
        let Self { place, end, lines, bytes, .. } = self;
        let warning = Warning::OutputLeftOut { step: place.step, lines, bytes };
        let left_out = (lines > 0).then(|| Event::Warning { server: Some(place.server.clone()), warning });
        let end = end.into_iter().map(|(stream, line)| Event::Output { place: place.clone(), stream, line });
        left_out.into_iter().chain(end).collect()
    }
}
