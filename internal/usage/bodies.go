// SPDX-License-Identifier: Apache-2.0

package usage

import "github.com/tallystick/tallystick/internal/store"

// A SourceBody is a store.Source for programs: its times are in seconds.
type SourceBody struct {
	store.Source
	Settle  float64 `json:"settle,omitempty" doc:"seconds after its time that a record comes at the latest; absent: it has closing marks"`
	Silence float64 `json:"silence,omitempty" doc:"seconds without a record after which it is called silent; absent is never"`
	KeepRaw float64 `json:"keep_raw,omitempty" doc:"seconds for which it is kept as it was received; absent is not at all"`
}

// SourceBodyOf returns a source for programs.
func SourceBodyOf(s store.Source) SourceBody {
	return SourceBody{Source: s, Settle: s.Settle.Seconds(), Silence: s.Silence.Seconds(), KeepRaw: s.KeepRaw.Seconds()}
}

// SourceBodiesOf returns sources for programs.
func SourceBodiesOf(list []store.Source) []SourceBody {
	bodies := make([]SourceBody, 0, len(list))
	for _, s := range list {
		bodies = append(bodies, SourceBodyOf(s))
	}
	return bodies
}

// A BookBody is a Book for programs: its times are in seconds.
type BookBody struct {
	Book
	Late     float64     `json:"late,omitempty" doc:"seconds after its time that the last new record came"`
	MostLate float64     `json:"most_late,omitempty" doc:"seconds after its time that the latest of all came"`
	Behind   float64     `json:"behind" doc:"seconds before now that it is closed to; 0 when it is not closed at all"`
	Skew     float64     `json:"skew,omitempty" doc:"seconds that its clock is before those of its counterparts; absent when that is not known"`
	Reading  *SourceBody `json:"reading,omitempty" doc:"its source; absent for a book that nothing reads any more"`
}

// BookBodiesOf returns books for programs.
func BookBodiesOf(list []Book) []BookBody {
	bodies := make([]BookBody, 0, len(list))
	for _, b := range list {
		body := BookBody{Book: b, Late: b.Late.Seconds(), MostLate: b.MostLate.Seconds(), Behind: b.Behind.Seconds(), Skew: b.Skew.Seconds()}
		if b.Reading != nil {
			reading := SourceBodyOf(*b.Reading)
			body.Reading = &reading
		}
		bodies = append(bodies, body)
	}
	return bodies
}
