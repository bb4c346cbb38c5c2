// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

const (
	sessionsVersion = 1
	sessionsLimit   = 8 << 20 // bytes of all sessions of one probe
	maxSessions     = 4096
)

// A session is one that can be resumed. It is secret.
type session struct {
	Listener driver.Listener `json:"listener"`
	Address  string          `json:"address"`
	Way      string          `json:"way"` // of resuming it
	Made     time.Time       `json:"made"`
	// Ticket and State are those of crypto/tls; or else Numbered is set.
	Ticket   []byte    `json:"ticket,omitempty"`
	State    []byte    `json:"state,omitempty"`
	Numbered *numbered `json:"numbered,omitempty"`
	Server   []byte    `json:"server,omitempty"` // the certificate of the server, DER, for Numbered
}

// A sessionFile is the form of Probed.Sessions.
type sessionFile struct {
	Version  int       `json:"version"`
	Sessions []session `json:"sessions"`
}

func writeSessions(sessions []session) ([]byte, error) {
	if len(sessions) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(sessionFile{sessionsVersion, sessions})
	if err == nil && (len(text) > sessionsLimit || len(sessions) > maxSessions) {
		return nil, fmt.Errorf("%w: %d sessions of %d bytes are too many to keep", tallystick.ErrInvalid, len(sessions), len(text))
	}
	return text, err
}

// readSessions reads what writeSessions wrote, perhaps in another process, and
// perhaps with another version of Tallystick.
func readSessions(text []byte) ([]session, error) {
	if len(text) == 0 {
		return nil, nil
	}
	if len(text) > sessionsLimit {
		return nil, invalid("%d bytes are no sessions", len(text))
	}
	var file sessionFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, invalid("no sessions, or damaged") // the error of the decoder may quote a secret
	}
	if file.Version != sessionsVersion {
		return nil, invalid("sessions of version %d are kept by another version of Tallystick; hold them again", file.Version)
	}
	for _, s := range file.Sessions {
		if len(file.Sessions) > maxSessions || s.Way != driver.WayResumed12 && s.Way != driver.WayResumed13 ||
			s.Numbered != nil && (len(s.Numbered.ID) != numberLength || len(s.Numbered.Secret) == 0 || len(s.Numbered.Secret) > 255) {
			return nil, invalid("no sessions, or damaged")
		}
	}
	return file.Sessions, nil
}

// at says whether a session was made at one of the listeners.
func (s session) at(listeners []driver.Listener) bool {
	return slices.ContainsFunc(listeners, func(l driver.Listener) bool {
		return l.Address == s.Listener.Address && l.Protocol == s.Listener.Protocol && l.ServerName == s.Listener.ServerName
	})
}

// resumption returns the session in the form of crypto/tls.
func (s session) resumption() (*tls.ClientSessionState, error) {
	if s.Numbered != nil {
		return s.Numbered.state(s.Server, s.Made)
	}
	state, err := tls.ParseSessionState(s.State)
	if err != nil {
		return nil, err
	}
	return tls.NewResumptionState(s.Ticket, state)
}

// A cache gives one session to a handshake, and keeps the last that comes of it. A
// connection has one of its own, so that nothing is shared.
type cache struct {
	give *tls.ClientSessionState
	mu   sync.Mutex
	kept *tls.ClientSessionState // guarded by mu
}

// Get and Put are those of tls.ClientSessionCache.
func (c *cache) Get(string) (*tls.ClientSessionState, bool) { return c.give, c.give != nil }

// Put keeps what is not the order to forget.
func (c *cache) Put(_ string, state *tls.ClientSessionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state != nil {
		c.kept = state
	}
}

// last returns what was kept last, or nil.
func (c *cache) last() *tls.ClientSessionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}
