// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// Config is what New needs.
type Config struct {
	DB   *store.DB
	Gate *gate.Gate
	Keys Keys
	Now  func() time.Time
	// Decide is the policy.
	Decide func(policy.Request) Decision
	// CheckKey refuses keys that are weak or malformed.
	CheckKey func(crypto.PublicKey) error
	// Known refuses keys that the inventory knows to be compromised or weak; nil error: none of it.
	Known func(context.Context, tallystick.KeyID) (reason string, err error)
	// Lint refuses certificates that break a rule of the standards.
	Lint     func(der []byte) error
	Profiles []Profile
	// URL is where what is published is reached, without a slash at its end.
	URL    string
	Shards int // of the CRLs of new authorities
	OCSP   bool
	// Revoked is called after certificates were revoked, to publish that soon; it may be nil.
	Revoked func()
	// Recalled is called after certificates were recalled or revoked, for those who renew
	// them here; it may be nil.
	Recalled func()
}

// Keys is where keys are kept: *custody.Custody.
type Keys interface {
	NewKey(ctx context.Context, kind custody.KeyType, owner custody.Owner) (id string, signer crypto.Signer, err error)
	Signer(ctx context.Context, id string) (crypto.Signer, error)
}

// A Decision is what the policy says of a request.
type Decision struct {
	Allowed  bool
	Approval bool   // and only with somebody's word
	Why      string // for whoever asks
	// Verdicts are what each rule says, for Try.
	Verdicts []policy.Verdict
}

// CA is all authorities of this installation. Make one with New; its methods are
// safe to call from several goroutines.
type CA struct {
	Config

	mu      sync.Mutex
	list    []Authority // guarded by mu; as it was at read
	read    time.Time
	windows windows

	counting  sync.Mutex
	counted   map[int64]store.IssuedCounts // guarded by counting, as countedAt
	countedAt time.Time
}

// New puts the CA together. It reads nothing yet.
func New(c Config) *CA {
	return &CA{Config: c, windows: newWindows()}
}

// Settings are what stays with an authority.
type Settings struct {
	URL    string `json:"url"`
	Shards int    `json:"shards"`
	OCSP   bool   `json:"ocsp,omitempty"`
	// Note says in the words of whoever made it what it is for.
	Note string `json:"note,omitempty"`
	// CSR is what waits for the certificate of somebody else's CA, PEM.
	CSR string `json:"csr,omitempty"`
	// Since is when it came into its state.
	Since time.Time `json:"since,omitzero"`
}

// An Authority is one CA: a name and a key that certificates are signed with.
type Authority struct {
	ID          int64            `json:"-"`
	Name        string           `json:"name"`
	Kind        string           `json:"kind"`
	State       string           `json:"state"`
	Parent      string           `json:"parent,omitempty"`  // "" for a root, or under somebody else's CA
	Follows     string           `json:"follows,omitempty"` // the one that it takes over from
	Subject     string           `json:"subject"`
	Key         tallystick.KeyID `json:"key"`
	Algorithm   string           `json:"algorithm"`
	NotBefore   time.Time        `json:"not_before"`
	NotAfter    time.Time        `json:"not_after"`
	Certificate []byte           `json:"-"` // DER; of kind ssh: the public key in wire format
	Chain       [][]byte         `json:"-"` // DER: its certificate's issuers, up to the root
	Settings    Settings         `json:"settings"`
	Created     time.Time        `json:"created"`
	CreatedBy   string           `json:"created_by"`

	x509  *x509.Certificate
	keyID string
}

// IsRoot says whether it signed itself.
func (a Authority) IsRoot() bool {
	return a.Kind == KindX509 && len(a.Chain) == 0 && len(a.Certificate) > 0
}

// X509 returns its certificate; nil while it has none, and for SSH.
func (a Authority) X509() *x509.Certificate { return a.x509 }

// Signs says whether it signs certificates now.
func (a Authority) Signs() bool { return a.State == Active && len(a.Certificate) > 0 }

// PEM returns its certificate, or its public key as authorized_keys has it.
func (a Authority) PEM() string {
	if a.Kind == KindSSH {
		if key, err := ssh.ParsePublicKey(a.Certificate); err == nil {
			return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n") + " " + a.Name + "\n"
		}
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate}))
}

// fresh is how long the list of authorities is relied on; a command beside the
// server may change it.
const fresh = time.Second

// Authorities returns all, by name. It asks nobody: protocols need it; what people
// see asks the gate before.
func (c *CA) Authorities(ctx context.Context) ([]Authority, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.Now(); c.list != nil && now.Sub(c.read) < fresh && !now.Before(c.read) {
		return slices.Clone(c.list), nil
	}
	rows, err := c.DB.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Authority, 0, len(rows))
	names := map[int64]string{}
	for _, row := range rows {
		names[row.ID] = row.Name
	}
	for _, row := range rows {
		a, err := authorityOf(row, names)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	c.list, c.read = list, c.Now()
	return slices.Clone(list), nil
}

// changed makes the next Authorities read again.
func (c *CA) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = nil
}

func authorityOf(row store.Authority, names map[int64]string) (Authority, error) {
	a := Authority{
		ID: row.ID, Name: row.Name, Kind: row.Kind, State: row.State, Parent: names[row.Parent], Follows: names[row.Follows], Subject: row.Subject,
		Key: tallystick.KeyID(row.SPKI), Algorithm: row.Algorithm, NotBefore: row.NotBefore, NotAfter: row.NotAfter, Certificate: row.Certificate,
		Created: row.Created, CreatedBy: row.CreatedBy, keyID: row.Key,
	}
	if err := json.Unmarshal([]byte(row.Settings), &a.Settings); err != nil {
		return a, fmt.Errorf("the settings of the CA %s: %w: %w", a.Name, tallystick.ErrDamaged, err)
	}
	if a.Kind != KindX509 || len(row.Certificate) == 0 {
		return a, nil
	}
	certificate, err := x509.ParseCertificate(row.Certificate)
	if err != nil {
		return a, fmt.Errorf("the certificate of the CA %s: %w: %w", a.Name, tallystick.ErrDamaged, err)
	}
	a.x509 = certificate
	chain, err := x509.ParseCertificates(row.Chain)
	if err != nil {
		return a, fmt.Errorf("the chain of the CA %s: %w: %w", a.Name, tallystick.ErrDamaged, err)
	}
	for _, above := range chain {
		a.Chain = append(a.Chain, above.Raw)
	}
	return a, nil
}

// Authority returns one by its name.
func (c *CA) Authority(ctx context.Context, name string) (Authority, error) {
	list, err := c.Authorities(ctx)
	if err != nil {
		return Authority{}, err
	}
	i := slices.IndexFunc(list, func(a Authority) bool { return a.Name == name })
	if i < 0 {
		return Authority{}, noSuchAuthority(name, list)
	}
	return list[i], nil
}

func noSuchAuthority(name string, list []Authority) error {
	var names []string
	for _, a := range list {
		names = append(names, a.Name)
	}
	hint := `make one with "tally ca init NAME"`
	if len(names) > 0 {
		hint = "there is " + strings.Join(names, ", ")
	}
	return problem.With(fmt.Errorf("the CA %q: %w", name, tallystick.ErrNotFound), hint)
}

// Signing returns the authority that signs for a name: the one that bears it or,
// after a rollover, the one that took over. "" is the only one that signs.
func (c *CA) Signing(ctx context.Context, name, kind string) (Authority, error) {
	list, err := c.Authorities(ctx)
	if err != nil {
		return Authority{}, err
	}
	if name == "" {
		return onlySigning(list, kind)
	}
	for range list { // each step goes to a later generation
		i := slices.IndexFunc(list, func(a Authority) bool { return a.Name == name })
		if i < 0 {
			return Authority{}, noSuchAuthority(name, list)
		}
		a := list[i]
		if a.Kind != kind {
			return Authority{}, fmt.Errorf("%w: the CA %s signs certificates of kind %s, not %s", tallystick.ErrInvalid, name, a.Kind, kind)
		}
		if a.Signs() {
			return a, nil
		}
		next := slices.IndexFunc(list, func(b Authority) bool { return b.Follows == a.Name && (b.Signs() || b.State == Retired) })
		if next < 0 {
			return Authority{}, problem.With(fmt.Errorf("%w: the CA %s is %s and signs nothing", tallystick.ErrInvalid, name, a.State), `"tally ca list" shows which sign`)
		}
		name = list[next].Name
	}
	return Authority{}, fmt.Errorf("%w: the CAs after %s follow each other in a circle", tallystick.ErrDamaged, name)
}

// onlySigning is for requests that name no CA: the one that signs, preferring
// those that sign nothing but what machines use.
func onlySigning(list []Authority, kind string) (Authority, error) {
	var found []Authority
	for _, a := range list {
		if a.Kind == kind && a.Signs() {
			found = append(found, a)
		}
	}
	if len(found) > 1 { // a root beside intermediates is not meant
		below := slices.DeleteFunc(slices.Clone(found), Authority.IsRoot)
		if len(below) > 0 {
			found = below
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Authority{}, problem.With(fmt.Errorf("%w: there is no CA of kind %s that signs", tallystick.ErrInvalid, kind), `make one with "tally ca init NAME"`)
	}
	var names []string
	for _, a := range found {
		names = append(names, a.Name)
	}
	return Authority{}, problem.With(fmt.Errorf("%w: several CAs sign, and the request names none", tallystick.ErrInvalid), "name one of "+strings.Join(names, ", "))
}

// Signer returns an authority with its key, to sign what is not a certificate:
// lists of revoked ones, answers of OCSP. A key that cannot be reached is ErrUnavailable.
func (c *CA) Signer(ctx context.Context, name string) (Authority, crypto.Signer, error) {
	a, err := c.Authority(ctx, name)
	if err != nil {
		return a, nil, err
	}
	signer, err := c.signerOf(ctx, a)
	return a, signer, err
}

func (c *CA) signerOf(ctx context.Context, a Authority) (crypto.Signer, error) {
	if a.keyID == "" {
		return nil, problem.With(fmt.Errorf("the key of the CA %s is offline: %w", a.Name, tallystick.ErrUnavailable), "sign where its key is")
	}
	signer, err := c.Keys.Signer(ctx, a.keyID)
	if err != nil {
		return nil, fmt.Errorf("couldn't get the key of the CA %s: %w", a.Name, err)
	}
	return signer, nil
}
