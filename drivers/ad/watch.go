// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

var _ driver.Watcher = (*AD)(nil)

// A position is how far the changes of a domain were read, as it is stored.
type position struct {
	ldapdir.Standing
	Base   string `json:"base,omitempty"`   // DN of the domain
	Method string `json:"method,omitempty"` // that is in use, where the option leaves it open
	Cookie []byte `json:"cookie,omitempty"` // of DirSync
	Own    bool   `json:"own,omitempty"`    // DirSync gives only what the account may read
	// Invocation and USN are how far the database of one domain controller was read.
	Invocation string `json:"invocation,omitempty"`
	USN        uint64 `json:"usn,omitempty"`
}

// A watching is one round.
type watching struct {
	*AD
	domain
	*ldapdir.Round
	at  *position
	out *ldapdir.Observer
	// parts says that it was told that of some attributes only a part was read.
	parts bool
}

// Watch reads what has changed since the last round: by DirSync where the account may, else by
// the update sequence numbers of one domain controller. The first round reads everything and tells nothing.
func (d *AD) Watch(ctx context.Context, request driver.WatchRequest, sink driver.WatchSink) (time.Duration, error) {
	at := &position{}
	if err := ldapdir.ReadPosition(request.Position, at); err != nil {
		return 0, err
	}
	server, err := d.server(d.URL)
	if err != nil {
		return 0, fmt.Errorf("option url: %w", err)
	}
	w := &watching{AD: d, at: at, Round: &ldapdir.Round{
		Lobby: d.lobby, Keeper: d.keeper, Server: server, Sink: sink, Every: d.Every, Now: request.Now, At: &at.Standing, Stored: at, Memory: request.Memory,
	}}
	return w.Run(ctx, w.read)
}

// read reads what is new.
func (w *watching) read(ctx context.Context) error {
	var err error
	if w.domain, err = ask(ctx, w.Session); err != nil {
		return err
	}
	if w.at.Base != w.base {
		*w.at = position{Base: w.base}
	}
	if w.at.Based && w.highest == w.at.USN {
		return nil
	}
	if err := w.complete(ctx, w.Session); err != nil {
		return err
	}
	w.out = &ldapdir.Observer{
		Sink: w.Sink, Memory: w.Memory, Directory: w.directory(), Log: ldapdir.Log, First: !w.at.Based, Since: w.at.At, Now: w.Now,
		Links: map[string]bool{attrMember: true, attrSuperseded: true},
	}
	began := w.Now()
	if w.method() == methodUSN {
		err = w.byUSN(ctx)
	} else {
		err = w.byDirSync(ctx)
	}
	if err != nil {
		return err
	}
	w.at.USN, w.at.Invocation = w.highest, w.invocation
	return w.End(ctx, w.out, began)
}

func (w *watching) method() string {
	if w.Method != methodAuto {
		return w.Method
	}
	if w.at.Method == methodUSN {
		return methodUSN
	}
	return methodDirSync
}
