// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// TokenLife is how long the token of a new agent is good.
const TokenLife = time.Hour

// Agents are those of a store, for who manages them and for the engine.
type Agents struct {
	DB        *store.DB
	Gate      *gate.Gate
	Authority *Authority
	Now       func() time.Time
}

// An Agent is what is known of one.
type Agent struct {
	Name      string    `json:"name"`
	State     string    `json:"state"` // StateWaiting, StateReady, StateSilent or StateEnded
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Expires   time.Time `json:"expires,omitzero"` // of its token, while it waits
	Seen      time.Time `json:"seen,omitzero"`
	Address   string    `json:"address,omitempty"` // that it last came from
	Version   string    `json:"version,omitempty"`
	NotAfter  time.Time `json:"not_after,omitzero"` // of its certificate
	Doors     int       `json:"doors"`
}

// The words of Agent.State.
const (
	StateWaiting = "waiting" // to enrol
	StateReady   = "ready"
	StateSilent  = "silent" // it did not come for silentAfter
	StateEnded   = "ended"  // its certificate has: it has to enrol again
)

// silentAfter is how long an agent that asks for work twice a minute may be silent.
const silentAfter = 2 * time.Minute

// Add lets an agent enrol by the token that it returns, which cannot be had again. One
// of that name that is there goes on until the token is used; address is where agents reach
// the server.
func (a *Agents) Add(ctx context.Context, by gate.Actor, name, address string) (text string, expires time.Time, err error) {
	if err := a.Gate.Check(ctx, by, gate.ManageAgents, "add "+name); err != nil {
		return "", expires, err
	}
	if !nameForm.MatchString(name) {
		return "", expires, fmt.Errorf("%w: the name of an agent has lower-case letters, digits and hyphens, and at most 63 of them", tallystick.ErrInvalid)
	}
	pin, err := a.Authority.pin(ctx)
	if err != nil {
		return "", expires, err
	}
	secret, hash := newSecret()
	now := a.Now().UTC().Truncate(time.Microsecond) // as it is kept
	expires = now.Add(TokenLife)
	if err := a.DB.AddAgent(ctx, store.Agent{Name: name, Created: now, CreatedBy: by.Name, Expires: expires}, hash); err != nil {
		return "", expires, err
	}
	return token{Name: name, Address: address, Pin: pin, Secret: secret}.String(), expires, nil
}

// Remove shuts an agent out at once. What it has under way is done by nobody.
func (a *Agents) Remove(ctx context.Context, by gate.Actor, name string) error {
	if err := a.Gate.Check(ctx, by, gate.ManageAgents, "remove "+name); err != nil {
		return err
	}
	return known(a.DB.RemoveAgent(ctx, name, a.Now()))
}

// known gives an error about an agent that is not there its hint.
func known(err error) error {
	if errors.Is(err, tallystick.ErrNotFound) {
		return problem.With(err, `run "tally agent list" to see them`)
	}
	return err
}

// List returns all agents, by name.
func (a *Agents) List(ctx context.Context, who gate.Actor) ([]Agent, error) {
	if err := a.Gate.Check(ctx, who, gate.ReadRecalls, "agents"); err != nil {
		return nil, err
	}
	rows, err := a.DB.Agents(ctx)
	if err != nil {
		return nil, err
	}
	all, err := a.DB.AgentDoors(ctx)
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, d := range all {
		count[d.Agent]++
	}
	list := make([]Agent, len(rows))
	for i, row := range rows {
		list[i] = Agent{
			Name: row.Name, State: a.state(row), Created: row.Created, CreatedBy: row.CreatedBy, Seen: row.Seen, Address: row.Address,
			Version: row.Version, NotAfter: row.NotAfter, Doors: count[row.Name],
		}
		if row.Key == "" {
			list[i].Expires = row.Expires
		}
	}
	return list, nil
}

func (a *Agents) state(row store.Agent) string {
	now := a.Now()
	switch {
	case row.Key == "":
		return StateWaiting
	case now.After(row.NotAfter):
		return StateEnded
	case now.Sub(row.Seen) > silentAfter:
		return StateSilent
	}
	return StateReady
}

// A Standing is a door of an agent and when it was last looked at.
type Standing struct {
	doors.Door
	Looked time.Time `json:"looked,omitzero"`
	Error  string    `json:"error,omitempty"` // of that look
}

// Doors returns the doors of all agents, by name: AGENT/DOOR.
func (a *Agents) Doors(ctx context.Context) ([]Standing, error) {
	rows, err := a.DB.AgentDoors(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Standing, 0, len(rows))
	for _, row := range rows {
		one := Standing{Looked: row.Looked, Error: row.Error}
		if err := json.Unmarshal([]byte(row.About), &one.Door); err != nil {
			return nil, fmt.Errorf("%w: what the agent %s says of the door %s cannot be read", tallystick.ErrDamaged, row.Agent, row.Name)
		}
		one.Name, one.Agent = doorName(row.Agent, row.Name), row.Agent
		list = append(list, one)
	}
	return list, nil
}

// View returns how a door of an agent, AGENT/DOOR, stood when it was last looked at, and
// when that was. Before the first look, and where the last one failed, it is
// ErrUnavailable and says why.
func (a *Agents) View(ctx context.Context, name string) (driver.View, time.Time, error) {
	agent, door, _ := strings.Cut(name, "/")
	row, err := a.DB.AgentDoor(ctx, agent, door)
	if err != nil {
		return driver.View{}, time.Time{}, err
	}
	if row.Error != "" || row.View == "" {
		why := row.Error
		if why == "" {
			why = "the agent has not looked yet"
		}
		return driver.View{}, row.Looked, fmt.Errorf("couldn't look at the door %s: %w: %s", name, tallystick.ErrUnavailable, why)
	}
	var view driver.View
	if err := json.Unmarshal([]byte(row.View), &view); err != nil {
		return driver.View{}, row.Looked, fmt.Errorf("%w: how the door %s stood cannot be read", tallystick.ErrDamaged, name)
	}
	return view, row.Looked, nil
}

// WantLook asks the agents that are there to look at their doors now, and returns when
// they have, or when ctx ends, with the names of those that have not.
func (a *Agents) WantLook(ctx context.Context) (silent []string, err error) {
	rows, err := a.DB.Agents(ctx)
	if err != nil {
		return nil, err
	}
	asked := a.Now().UTC().Truncate(time.Microsecond)
	for _, row := range rows {
		if a.state(row) != StateReady {
			silent = append(silent, row.Name)
			continue
		}
		if err := a.DB.WantLook(ctx, row.Name, asked); err != nil && !errors.Is(err, tallystick.ErrNotFound) {
			return nil, err
		}
	}
	for {
		waiting, err := a.notSince(ctx, asked, silent)
		if err != nil || len(waiting) == 0 {
			return silent, err
		}
		select {
		case <-ctx.Done():
			return append(silent, waiting...), nil
		case <-time.After(pollEvery):
		}
	}
}

// notSince returns the agents with a door that was not looked at since a time.
func (a *Agents) notSince(ctx context.Context, asked time.Time, but []string) ([]string, error) {
	rows, err := a.DB.AgentDoors(ctx)
	if err != nil {
		return nil, err
	}
	var waiting []string
	for _, row := range rows {
		if row.Looked.Before(asked) && !slices.Contains(but, row.Agent) && !slices.Contains(waiting, row.Agent) {
			waiting = append(waiting, row.Agent)
		}
	}
	return waiting, nil
}
