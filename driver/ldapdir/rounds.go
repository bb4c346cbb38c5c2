// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

const (
	// A directory that cannot be reached is asked again after laterAgain, and one that denies
	// something after deniedAgain.
	laterAgain  = 5 * time.Second
	deniedAgain = time.Minute
	// Log is what changes are read from, for people.
	Log = "directory"
)

// A Standing is what each watch of a directory has in its position.
type Standing struct {
	// Turned is with which password the account was turned away.
	Turned string `json:"turned,omitempty"`
	// Based says that everything was read once, so that what is not remembered is new.
	Based bool      `json:"based,omitempty"`
	At    time.Time `json:"at,omitzero"` // of the last round that came to its end
}

// A Round is one round of a watch.
type Round struct {
	Lobby   *Lobby
	Keeper  *Keeper
	Server  Server
	Sink    driver.WatchSink
	Every   time.Duration
	Now     func() time.Time
	At      *Standing
	Stored  any // the position that At is a part of, which is stored as JSON
	Memory  driver.WatchMemory
	Session *Session
}

// Run signs in where no session is kept, and has do read what is new. What a person or time
// can mend is told to the sink.
func (r *Round) Run(ctx context.Context, do func(context.Context) error) (time.Duration, error) {
	attempt := r.Server.Attempt()
	if attempt != "" && r.At.Turned == attempt {
		return r.fail(ctx, turnedAway(r.Server))
	}
	if r.Session = r.Keeper.Take(attempt); r.Session == nil {
		var err error
		if r.Session, err = r.Lobby.Dial(ctx, r.Server); err != nil {
			if errors.Is(err, ErrTurnedAway) { // not to be forgotten when this process ends
				r.At.Turned = attempt
				if err := r.keep(); err != nil {
					return 0, err
				}
			}
			return r.fail(ctx, err)
		}
	}
	r.At.Turned = ""
	if err := do(ctx); err != nil {
		r.Session.Close()
		return r.fail(ctx, err)
	}
	r.Keeper.Put(r.Session, attempt)
	return r.Every, nil
}

func (r *Round) keep() error {
	text, err := json.Marshal(r.Stored)
	if err != nil {
		return err
	}
	_, err = r.Sink.Take(driver.WatchBatch{Log: Log, Position: string(text)})
	return err
}

// End hands over the rest with the position as it is now.
func (r *Round) End(ctx context.Context, out *Observer, began time.Time) error {
	r.At.Based, r.At.At = true, began
	text, err := json.Marshal(r.Stored)
	if err != nil {
		return err
	}
	return out.End(ctx, string(text))
}

// fail tells what went wrong, and when to try again.
func (r *Round) fail(ctx context.Context, err error) (time.Duration, error) {
	var failed *SinkError
	switch {
	case errors.As(err, &failed):
		return 0, failed.Unwrap()
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.Is(err, tallystick.ErrDenied), errors.Is(err, tallystick.ErrInvalid), errors.Is(err, tallystick.ErrNotFound):
		do := ""
		switch {
		case errors.Is(err, ErrTurnedAway):
			do = "Write the right password to the file of the option password-file"
		case errors.Is(err, ErrTooMany):
			do = "Raise the limit on how many entries the account may read"
		}
		r.Sink.Trouble(driver.WatchTrouble{Log: Log, Err: err, Do: do})
		return deniedAgain, nil
	}
	r.Sink.Trouble(driver.WatchTrouble{Log: Log, Err: err})
	return laterAgain, nil
}

// FindEach looks at servers, one after the other. One that cannot be read is a miss.
func FindEach(ctx context.Context, servers []Server, now func() time.Time, sink driver.Sink, place func(Server) tallystick.Place, find func(Server) error) error {
	for i, server := range servers {
		if err := find(server); err != nil {
			var failed *SinkError
			switch {
			case errors.As(err, &failed):
				return failed.Unwrap()
			case ctx.Err() != nil:
				return ctx.Err()
			}
			detail := err.Error()
			if hint := tallystick.HintOf(err); hint != "" { // a miss has no other place for it
				detail += ": " + hint
			}
			miss := tallystick.Miss{Place: place(server), Error: Word(err), Detail: network.Clean(detail), Seen: now()}
			if err := sink.Missed(miss); err != nil {
				return err
			}
		}
		sink.Progress(int64(i+1), int64(len(servers)))
	}
	return ctx.Err()
}

// Servers reads the targets of a look, or the one of the options where there is none.
func Servers(targets []string, own string, read func(string) (Server, error)) ([]Server, error) {
	if len(targets) == 0 && own != "" {
		targets = []string{own}
	}
	if len(targets) == 0 {
		return nil, invalid("name directories by their URLs, as targets or in the option url")
	}
	servers := make([]Server, len(targets))
	for i, target := range targets {
		var err error
		if servers[i], err = read(target); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

// MaxListed bounds each list of tallystick.AccountFacts.
const MaxListed = 200

// Clean makes texts fit to be shown, and leaves out those behind MaxListed.
func Clean(texts []string) []string {
	var list []string
	for _, text := range texts[:min(len(texts), MaxListed)] {
		list = append(list, network.Clean(text))
	}
	return list
}
