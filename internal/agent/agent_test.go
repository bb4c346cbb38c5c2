// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/agent"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/doors"
)

// An agent enrols, tells what its doors are, and does what it is asked to. The keys stay
// where they are used.
func TestAnAgentWorks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	m.start(t)
	eventually(t, "the door is known", func() bool {
		view, _, err := h.View(t.Context(), "web1/journal")
		return err == nil && len(view.Shown) == 1 && view.Shown[0].Is(m.old.Public)
	})
	known, err := h.Agents.Doors(t.Context())
	if err != nil || len(known) != 1 {
		t.Fatalf("%+v, %v", known, err)
	}
	want := doors.Door{Name: "web1/journal", Agent: "web1", Driver: "memory", Holder: "journal", Verbs: []string{"look", "install", "block"}}
	if diff := cmp.Diff(want, known[0].Door); diff != "" {
		t.Error(diff)
	}

	task := doors.Task{Door: "web1/journal", Name: "recall/7/1", Old: m.old.Public, KeyName: "recall/7/new", OldKeyName: "recall/7/old"}
	task.Act = tallystick.ActKey
	made := h.engine.await(t, h.engine.add(task))
	csr, err := x509.ParseCertificateRequest(made.result.CSR)
	if err != nil {
		t.Fatal(err, made.failure)
	}
	leaf := m.pki.Sign(t, &x509.Certificate{Subject: csr.Subject}, csr.PublicKey)
	task.Act, task.New = tallystick.ActInstall, driver.Public{Chain: [][]byte{leaf.Raw, m.pki.Sub.Raw}}
	installed := h.engine.await(t, h.engine.add(task))
	if installed.failure != "" || !installed.result.Old.Is(m.old.Public) || !m.door.has.Is(task.New) {
		t.Errorf("%s, %+v", installed.failure, installed.result)
	}
	for name, key := range map[string]any{"the old key": m.old.Key, "the new key": m.door.has.Key} {
		secret, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		scalar, err := key.(*ecdsa.PrivateKey).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		sent := h.said.Bytes()
		for _, form := range [][]byte{secret, scalar, []byte(base64.StdEncoding.EncodeToString(secret)[8:40]), fmt.Appendf(nil, "%x", scalar), []byte("PRIVATE")} {
			if bytes.Contains(sent, form) {
				t.Errorf("%s went over the line", name)
			}
		}
		h.mu.Unlock()
	}

	task.Act = tallystick.ActTrust
	refused := h.engine.await(t, h.engine.add(task))
	if refused.kind != "invalid" || !strings.Contains(refused.failure, "couldn't trust at the door journal") || !strings.Contains(refused.failure, "by hand") {
		t.Errorf("%q, %q", refused.kind, refused.failure)
	}
	if err := agent.ErrorOf(refused.failure, refused.kind); !errors.Is(err, tallystick.ErrInvalid) || err.Error() != refused.failure {
		t.Error(err)
	}
	list, err := h.List(t.Context(), root)
	if err != nil || len(list) != 1 || list[0].State != agent.StateReady || list[0].Doors != 1 || list[0].Version != "test" || list[0].Address != "127.0.0.1" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestATokenIsGoodForOneKeyAndNotForLong(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	used := h.token(t, "web1")
	first := newMachine(t, h, used)
	stop := first.start(t)
	eventually(t, "it has enrolled", func() bool { return len(first.lines()) > 1 })
	stop()
	stop = first.start(t) // again, with what it has
	eventually(t, "it is there again", func() bool { return len(first.lines()) > 2 })
	stop()
	late := h.token(t, "web2")
	removed := h.token(t, "web3")
	if err := h.Remove(t.Context(), root, "web3"); err != nil {
		t.Fatal(err)
	}
	h.pass(agent.TokenLife)
	for name, token := range map[string]string{"used": used, "too late": late, "of one that was removed": removed, "another": strings.TrimSuffix(used, "x") + "x",
		"empty": "", "half": used[:40]} {
		err := newMachine(t, h, token).run(t.Context())
		if !errors.Is(err, tallystick.ErrUnsigned) && !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("a token that is %s: %v", name, err)
		}
	}
	if story := h.story(t); !strings.Contains(story, "agent/web1 issue-certificate agent/web1 true\n") ||
		!strings.Contains(story, "work-at-doors from 127.0.0.1 false not signed in: the token is unknown, used or too old\n") {
		t.Error(story)
	}
}

// An enrolment whose answer was lost is made again, with the same key.
func TestAnEnrolmentIsRepeated(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	h.away(true)
	stop := m.start(t)
	eventually(t, "it was tried", func() bool { return m.failures() != nil })
	h.away(false)
	eventually(t, "it is there", func() bool { return len(m.lines()) > 1 })
	stop()
	own := filepath.Join(m.Data, "own")
	if err := os.Remove(filepath.Join(own, "agent%2Fidentity.secret")); err != nil {
		t.Fatal(err)
	}
	text, err := m.Token()
	if err != nil {
		t.Fatal(err)
	}
	hash, err := agent.TokenHash(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(own, "agent%2Fkey.secret"), filepath.Join(own, "agent%2Fof%2F"+hash+".secret")); err != nil {
		t.Fatal(err)
	}
	said := len(m.lines())
	m.start(t)
	eventually(t, "it is there again", func() bool { return len(m.lines()) == said+2 })
}

func TestARemovedAgentIsOutAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	m.start(t)
	eventually(t, "it is there", func() bool { return len(m.lines()) > 1 })
	time.Sleep(100 * time.Millisecond) // it waits for work
	if err := h.Remove(t.Context(), root, "web1"); err != nil {
		t.Fatal(err)
	}
	s := h.engine.add(doors.Task{Act: tallystick.ActBlock, Door: "web1/journal", Name: "recall/7/1", Old: m.old.Public})
	eventually(t, "it is refused", func() bool { return errors.Is(m.failures(), tallystick.ErrUnsigned) })
	h.engine.mu.Lock()
	defer h.engine.mu.Unlock()
	if s.fence != 0 {
		t.Error("it was given work")
	}
	if !strings.Contains(m.failures().Error(), "it was removed") || !strings.Contains(h.story(t), "agent/web1 work-at-doors from 127.0.0.1 false not signed in: it was removed\n") {
		t.Errorf("%v\n%s", m.failures(), h.story(t))
	}
	if err := h.Remove(t.Context(), root, "web1"); !errors.Is(err, tallystick.ErrNotFound) {
		t.Error(err)
	}
}

// The agent renews its certificate, and the one before is good until then only.
func TestTheCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	stop := m.start(t)
	eventually(t, "it is there", func() bool { return len(m.lines()) > 1 })
	stop()
	before, err := h.DB.Agent(t.Context(), "web1")
	if err != nil {
		t.Fatal(err)
	}
	copied := copyOf(t, h, m)
	h.pass(agent.CertificateLife/2 + time.Minute)
	m.start(t)
	eventually(t, "another key is used", func() bool {
		row, err := h.DB.Agent(t.Context(), "web1")
		return err == nil && row.Key != before.Key && row.KeyBefore == "" && row.NotAfter.After(before.NotAfter)
	})
	result := h.engine.await(t, h.engine.add(doors.Task{Act: tallystick.ActBlock, Door: "web1/journal", Name: "recall/7/1", Old: m.old.Public}))
	if result.failure != "" {
		t.Error(result.failure)
	}
	copied.start(t) // a thief with the old one
	eventually(t, "the old one is refused", func() bool {
		err := copied.failures()
		return errors.Is(err, tallystick.ErrUnsigned) && strings.Contains(err.Error(), "took over")
	})
}

// Somebody in between who has a certificate that others trust is not believed, nor is an
// agent that plays the server.
func TestTheServerIsKnownByItsKey(t *testing.T) {
	t.Parallel()
	h, other := newHouse(t), newHouse(t)
	token := h.token(t, "web1")
	m := newMachine(t, h, token)
	moved, err := agent.Readdress(token, other.address)
	if err != nil {
		t.Fatal(err)
	}
	m.Token = func() (string, error) { return moved, nil }
	if err := m.run(t.Context()); !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "not the server that the token was made for") {
		t.Errorf("another server: %v", err)
	}
	if len(other.said.Bytes()) > 0 {
		t.Error("it has told the other server something")
	}
}

func TestALostLeaseStopsTheWork(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	m.door.slow = 10 * time.Second
	m.start(t)
	s := h.engine.add(doors.Task{Act: tallystick.ActBlock, Door: "web1/journal", Name: "recall/7/1", Old: m.old.Public})
	eventually(t, "the lease was extended", func() bool {
		h.engine.mu.Lock()
		defer h.engine.mu.Unlock()
		return s.extended > 2
	})
	h.engine.mu.Lock()
	s.fence += 10
	s.until = time.Now().Add(time.Hour)
	h.engine.mu.Unlock()
	eventually(t, "the work has stopped", func() bool {
		err := m.failures()
		return err != nil && strings.Contains(err.Error(), "the lease is lost")
	})
	if h.engine.mu.Lock(); s.done || m.door.blocked != nil {
		t.Error("it was done all the same")
	}
	h.engine.mu.Unlock()
}

// A server that is away while the work is done hears of it later.
func TestAResultIsToldLater(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.engine.lease = 5 * time.Second
	m := newMachine(t, h, h.token(t, "web1"))
	m.door.slow = 300 * time.Millisecond
	m.start(t)
	s := h.engine.add(doors.Task{Act: tallystick.ActBlock, Door: "web1/journal", Name: "recall/7/1", Old: m.old.Public})
	eventually(t, "it was begun", func() bool {
		m.door.mu.Lock()
		defer m.door.mu.Unlock()
		return m.door.begun > 0
	})
	h.away(true)
	time.Sleep(600 * time.Millisecond)
	h.away(false)
	done := h.engine.await(t, s)
	m.door.mu.Lock()
	defer m.door.mu.Unlock()
	if done.failure != "" || m.door.begun != 1 || done.fence != 1 {
		t.Errorf("begun %d times, fence %d, %s", m.door.begun, done.fence, done.failure)
	}
}

// The server cannot have credentials tried wherever it likes.
func TestWhereAnAgentMayConnect(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	m.Connect = []string{"127.0.0.0/30", "dir.example.com"}
	m.start(t)
	for address, allowed := range map[string]bool{"127.0.0.2:1": true, "127.0.0.9:1": false, "[::1]:1": false, "DIR.example.com:1": true, "example.com:1": false, "/run/x.sock": false} {
		s := h.engine.await(t, h.engine.add(doors.Task{Act: tallystick.ActProbe, Door: "web1/journal", Name: "recall/7/1", New: m.old.Public, KeyName: "recall/7/none",
			Listeners: []driver.Listener{{Address: address, Protocol: "https"}}}))
		if (s.kind == "denied") == allowed || s.kind == "" {
			t.Errorf("%s: %s, %s", address, s.kind, s.failure)
		}
	}
}

// Names that the server gives to keys lead to nothing else that the agent keeps.
func TestTheServerCannotReachTheAgentsOwnKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	m.start(t)
	for _, name := range []string{"agent/key", "agent/identity", "../own/agent%2Fkey", "../own/agent"} {
		s := h.engine.await(t, h.engine.add(doors.Task{Act: tallystick.ActInstall, Door: "web1/journal", Name: "recall/7/1", New: m.old.Public, KeyName: name}))
		if s.kind != "not-found" && s.kind != "invalid" {
			t.Errorf("%s: %s, %s", name, s.kind, s.failure)
		}
	}
}

func TestKeysAreDestroyedWhenTheRecallIsOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.engine.over = []string{"recall/7"}
	m := newMachine(t, h, h.token(t, "web1"))
	for _, name := range []string{"recall/7/new/1", "recall/70/new/1"} {
		if _, err := m.Keys.Make(t.Context(), name, "ed25519"); err != nil {
			t.Fatal(err)
		}
	}
	m.start(t)
	eventually(t, "one key is left", func() bool {
		names, err := m.Keys.Names()
		return err == nil && cmp.Equal([]string{"recall/70/new/1"}, names)
	})
}

func TestALookIsHadWhenItIsWanted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	m := newMachine(t, h, h.token(t, "web1"))
	h.token(t, "web2")
	m.start(t)
	eventually(t, "the door is known", func() bool {
		_, looked, err := h.View(t.Context(), "web1/journal")
		return err == nil && !looked.IsZero()
	})
	h.pass(time.Second)
	m.door.mu.Lock()
	m.door.blocked = []string{"ssh:x"}
	m.door.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	silent, err := h.WantLook(ctx)
	if diff := cmp.Diff([]string{"web2"}, silent); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if view, _, err := h.View(t.Context(), "web1/journal"); err != nil || len(view.Denies) != 1 {
		t.Errorf("%+v, %v", view, err)
	}
	if _, _, err := h.View(t.Context(), "web1/none"); !errors.Is(err, tallystick.ErrNotFound) {
		t.Error(err)
	}
}

// copyOf is another machine with what the agent keeps of itself.
func copyOf(t *testing.T, h *house, m *machine) *machine {
	t.Helper()
	other := newMachine(t, h, "")
	if err := os.CopyFS(filepath.Join(other.Data, "own"), os.DirFS(filepath.Join(m.Data, "own"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(other.Data, "own"), 0o700); err != nil {
		t.Fatal(err)
	}
	return other
}

// lines are what the agent has said.
func (m *machine) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.said...)
}

// story is the audit log: "WHO ACTION OBJECT ALLOWED DETAIL".
func (h *house) story(t *testing.T) string {
	t.Helper()
	entries, err := h.log.List(t.Context(), audit.Filter{}, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintln(&text, strings.TrimSpace(fmt.Sprintf("%s %s %s %v %s", e.Actor, e.Action, e.Object, e.Allowed, e.Detail)))
	}
	return text.String()
}
