// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
)

// entitled returns what a caller is, by the configuration. When that is nothing, the
// error is ErrDenied and on record.
func (s *Server) entitled(ctx context.Context, c *caller) ([]Workload, error) {
	var list []Workload
	var unseen error
	seen := &view{digests: &s.digests, process: c.process}
	defer seen.close()
	for _, w := range s.Workloads {
		ok, err := w.is(c, seen)
		if err != nil {
			unseen = err
		}
		if ok {
			list = append(list, w)
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	reason := fmt.Errorf("%w: no workload of the configuration is %s", tallystick.ErrDenied, c)
	if unseen != nil {
		reason = fmt.Errorf("%w; its program cannot be seen: %w", reason, unseen)
	}
	return nil, s.Gate.Refuse(ctx, gate.Actor{Via: "spiffe"}, gate.IssueCertificate, c.String(), reason)
}

// A view is what is known of a caller's program, looked up when it is first needed.
type view struct {
	digests *digests
	process *process

	looked bool
	file   io.Closer
	path   string
	sum    func() (string, error)
	err    error
}

func (v *view) look() error {
	if v.looked {
		return v.err
	}
	v.looked = true
	if v.process == nil {
		v.err = fmt.Errorf("%w: the process is in a name space of its own", tallystick.ErrDenied)
		return v.err
	}
	file, path, id, err := v.process.program()
	if err != nil {
		v.err = err
		return err
	}
	v.file, v.path = file, path
	v.sum = func() (string, error) { return v.digests.of(file, id) }
	return nil
}

func (v *view) close() {
	if v.file != nil {
		_ = v.file.Close() // it was read only
	}
}

// is says whether a caller is the workload. What is cheap is asked first.
func (w Workload) is(c *caller, seen *view) (bool, error) {
	if w.User == nil && w.Group == nil && w.Path == "" && w.SHA256 == "" {
		return false, nil // an entry that says nothing is nobody's
	}
	if w.User != nil && *w.User != c.uid || w.Group != nil && *w.Group != c.gid {
		return false, nil
	}
	if w.Path == "" && w.SHA256 == "" {
		return true, nil
	}
	if err := seen.look(); err != nil {
		return false, err
	}
	if w.Path != "" && w.Path != seen.path {
		return false, nil
	}
	if w.SHA256 == "" {
		return true, nil
	}
	sum, err := seen.sum()
	return err == nil && strings.EqualFold(sum, w.SHA256), err
}

// An svid is an identity with its key, as it is sent.
type svid struct {
	id      spiffeid.ID
	serial  ca.Serial
	signer  string // the authority
	chain   []byte // DER, the certificate first
	key     []byte // PKCS #8
	renewAt time.Time
	expires time.Time
}

// issue makes an identity for a workload.
func (s *Server) issue(ctx context.Context, w Workload, c *caller, replaces ca.Serial) (svid, error) {
	if err := s.spend(w.ID); err != nil {
		return svid{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return svid{}, fmt.Errorf("couldn't make a key: %w", err)
	}
	profile := w.Profile
	if profile == "" {
		profile = DefaultProfile
	}
	signing, err := s.CA.Signing(ctx, s.Authority, ca.KindX509)
	if err != nil {
		return svid{}, err
	}
	who := gate.Actor{Name: w.ID.String(), Role: gate.Client, Via: c.String()}
	issued, err := s.CA.Issue(ctx, who, ca.Request{
		Authority: signing.Name, Profile: profile, PublicKey: key.Public(), Names: &ca.Names{URIs: []string{w.ID.String()}}, Lifetime: w.Lifetime,
		Via: ca.ViaSPIFFE, Proven: true, Replaces: replaces,
	})
	if err != nil {
		return svid{}, err
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return svid{}, fmt.Errorf("couldn't encode a key: %w", err)
	}
	return svid{
		id: w.ID, serial: issued.Serial, signer: issued.Authority, chain: append(slices.Clone(issued.DER), bytes.Join(issued.Chain, nil)...), key: text,
		renewAt: s.renewal(issued), expires: issued.NotAfter,
	}, nil
}

// renewal is when to make the next: between four and five tenths of the life, so that
// workloads which started together do not all come at once.
func (s *Server) renewal(c ca.Certificate) time.Time {
	life := c.NotAfter.Sub(s.Now())
	var random [1]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand.Read)
	return s.Now().Add(life*4/10 + life/10*time.Duration(random[0])/256)
}

// stale says whether a stream needs another identity: its time has come, somebody wants
// it replaced, or another authority signs by now.
func (s *Server) stale(ctx context.Context, v svid) (bool, error) {
	if !s.Now().Before(v.renewAt) {
		return true, nil
	}
	signing, err := s.CA.Signing(ctx, s.Authority, ca.KindX509)
	if err != nil {
		return false, err
	}
	c, err := s.CA.Find(ctx, v.serial)
	if err != nil {
		return false, err
	}
	return signing.Name != v.signer || !c.Recalled.IsZero() || c.Revocation != nil, nil
}

// bundle returns what to trust: the roots of the authority that signs and of those that
// it took over from or that are to take over, DER, in a fixed order (SPIFFE Trust Domain
// and Bundle specification, section 4). One that is not to be trusted is left out.
func (s *Server) bundle(ctx context.Context) ([]byte, error) {
	signing, err := s.CA.Signing(ctx, s.Authority, ca.KindX509)
	if err != nil {
		return nil, err
	}
	list, err := s.CA.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	roots := map[string]bool{}
	for _, a := range family(signing.Name, list) {
		if a.State != ca.Prepared && a.State != ca.Active && a.State != ca.Retired || len(a.Certificate) == 0 {
			continue
		}
		root := a.Certificate
		if len(a.Chain) > 0 {
			root = a.Chain[len(a.Chain)-1]
		}
		roots[string(root)] = true
	}
	return []byte(strings.Join(slices.Sorted(maps.Keys(roots)), "")), nil
}

// family returns an authority with those above it, and with all that are before and
// after any of these.
func family(name string, list []ca.Authority) []ca.Authority {
	names := map[string]bool{name: true}
	for range list { // each turn finds a further generation
		for _, a := range list {
			if names[a.Name] || a.Follows != "" && names[a.Follows] {
				names[a.Name], names[a.Parent], names[a.Follows] = true, true, true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(a ca.Authority) bool { return !names[a.Name] })
}

// A budget bounds how many identities are made for a workload: a program that connects
// again and again must not fill the store.
type budget struct {
	since time.Time
	spent int
}

// perMinute is how many identities a workload gets in a minute: a restart of many
// copies of it is fine.
const perMinute = 120

func (s *Server) spend(id spiffeid.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgets[id]
	now := s.Now()
	if b == nil || now.Sub(b.since) >= time.Minute || now.Before(b.since) {
		b = &budget{since: now}
		s.budgets[id] = b
	}
	if b.spent++; b.spent > perMinute {
		return fmt.Errorf("%s was given %d identities within a minute: %w", id, perMinute, tallystick.ErrBusy)
	}
	return nil
}
