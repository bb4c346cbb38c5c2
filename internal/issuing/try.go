// SPDX-License-Identifier: Apache-2.0

package issuing

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// A Trial is a request that nobody makes.
type Trial struct {
	// As is who would ask; the zero value is whoever tries.
	As      gate.Actor
	Request ca.Request
	// Key is the sort of key, where the request has no CSR; "" is ecdsa-p256.
	Key string
}

// Try says what would become of a request. What cannot even be asked, because of a
// name or a lifetime say, is refused without any rule's verdict.
func (i *Issuing) Try(ctx context.Context, who gate.Actor, t Trial) (ca.Decision, error) {
	if err := i.Gate.Check(ctx, who, gate.ReadAuthorities, "try"); err != nil {
		return ca.Decision{}, err
	}
	if t.As == (gate.Actor{}) {
		t.As = who
	}
	if len(t.Request.CSR) == 0 {
		public, err := i.samples.key(t.Key)
		if err != nil {
			return ca.Decision{}, err
		}
		t.Request.PublicKey = public
	}
	decision, err := i.CA.Try(ctx, who, t.As, t.Request)
	if errors.Is(err, tallystick.ErrInvalid) {
		return ca.Decision{Why: plainly(err)}, nil
	}
	return decision, err
}

// plainly writes an error about input without its kind, and with what to do about it.
func plainly(err error) string {
	why := strings.TrimPrefix(err.Error(), tallystick.ErrInvalid.Error()+": ")
	if hint := problem.Of(err).Hint; hint != problem.Of(tallystick.ErrInvalid).Hint {
		why += ": " + hint
	}
	return why
}

// samples are public keys to try with, one of each sort, made when it is first asked
// for. Nobody keeps their private halves.
type samples struct {
	mu   sync.Mutex
	keys map[string]crypto.PublicKey // guarded by mu
}

func (s *samples) key(kind string) (crypto.PublicKey, error) {
	if kind == "" {
		kind = string(custody.P256)
	}
	if !slices.Contains(custody.KeyWords(), kind) {
		return nil, fmt.Errorf("%w: there is no sort of key %.40q: it is one of %s", tallystick.ErrInvalid, kind, strings.Join(custody.KeyWords(), ", "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key, ok := s.keys[kind]; ok {
		return key, nil
	}
	made, err := custody.Generate(custody.KeyType(kind))
	if err != nil {
		return nil, fmt.Errorf("couldn't make a key to try with: %w", err)
	}
	if s.keys == nil {
		s.keys = map[string]crypto.PublicKey{}
	}
	s.keys[kind] = made.Public()
	return made.Public(), nil
}

// ParseNames sorts names that a person wrote: addresses, URIs and mail addresses by
// their looks, CN=... as the common name, and the rest as what the profile is for:
// host names, principals, or a common name.
func ParseNames(p ca.Profile, words []string) ca.Names {
	var n ca.Names
	accepts := func(sort string) bool { return slices.Contains(p.Accepts, sort) }
	for _, word := range words {
		address, err := netip.ParseAddr(word)
		common, isCommon := strings.CutPrefix(word, "CN=")
		switch {
		case isCommon:
			n.CommonName = common
		case strings.Contains(word, "://"):
			n.URIs = append(n.URIs, word)
		case accepts("principal") && !(accepts("dns") && strings.Contains(word, ".") && !strings.Contains(word, "@")):
			n.Principals = append(n.Principals, word)
		case err == nil:
			n.IPs = append(n.IPs, address)
		case strings.Contains(word, "@"):
			n.Emails = append(n.Emails, word)
		case accepts("dns") && (strings.Contains(word, ".") || !accepts("common-name")) || n.CommonName != "":
			n.DNS = append(n.DNS, word)
		default:
			n.CommonName = word
		}
	}
	return n
}
