// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A door is one installed system that shows a credential to others, or lets others
// in by theirs: an nginx, a slapd, a keystore with the command that makes its
// program read it again. The verbs below are what a recall does at doors. Everything
// that is true of all of them:
//
//   - They are safe to repeat. A verb whose outcome is there already changes nothing,
//     reloads nothing, and says so (Changed is false).
//   - An error of a verb that writes says nothing about whether it happened. The
//     caller looks, or calls again.
//   - What was killed half-way is completed by the next call with the same request.
//   - A door that was good before a failed call is good after it: what was written is
//     put back, and the system is made to read it again, before the error is returned.
//     An error that says otherwise wraps ErrDamaged.
//   - ErrUnavailable is "later", ErrInvalid and ErrDenied are "no, and again no".

// A Looker says how a door stands. It only reads.
type Looker interface {
	Look(ctx context.Context, request LookRequest) (View, error)
}

// An Installer replaces the credential that a door shows, or that a client signs in
// with. It checks the new one before it writes (the key belongs to the certificate,
// the system's own checker takes the configuration), writes all files of one
// credential together, makes the system read them without a restart where it can,
// waits until that has happened, and looks at every listener; what is not shown
// everywhere is an error, and is rolled back.
type Installer interface {
	Install(ctx context.Context, request InstallRequest) (Installed, error)
}

// A Truster makes a door let a further credential in, beside those that it lets in now.
type Truster interface {
	Trust(ctx context.Context, request TrustRequest) (Changed, error)
}

// A Blocker makes a door refuse a credential, also when its sessions are resumed, and
// closes what is open where the system can. It says in Changed.How by which of its
// ways, and leaves every other credential as it is.
type Blocker interface {
	Block(ctx context.Context, request BlockRequest) (Blocked, error)
}

// A Prober tries a credential at listeners whose protocol package driver/probing does
// not speak. It signs in, asks for nothing else, and changes nothing.
type Prober interface {
	Probe(ctx context.Context, request ProbeRequest) (Probed, error)
}

// A Verbed door may have fewer verbs than its driver, because its options take some
// away: a Postfix that only signs in elsewhere lets nobody in. One that is none has all.
type Verbed interface {
	// Verbs returns those that the door has, of "look", "install", "trust", "block", "probe",
	// "rotate" and "supply". All others are ErrInvalid.
	Verbs() []string
}

// Offers says whether the options of an opened driver leave it a verb that it implements.
func Offers(door any, verb string) bool {
	narrowed, ok := door.(Verbed)
	return !ok || slices.Contains(narrowed.Verbs(), verb)
}

// A Listed door is a Blocker that refuses one credential by the revocation list of its CA
// and in no other way: where none is to be had that names it, a person has to see to it.
type Listed interface {
	// BlocksByList says so.
	BlocksByList() bool
}

// A LookRequest asks how a door stands.
type LookRequest struct {
	Host Host
	Now  func() time.Time
	// Used, of this and other requests, is told of each sign-in that the driver makes by a
	// credential whose uses somebody records, so that nobody takes it for a thief's. It may be nil.
	Used func(tallystick.Use)
}

// A View is how a door stands. Lists are sorted, so that equal doors give equal views.
type View struct {
	// Listeners are all addresses at which somebody can try a credential.
	Listeners []Listener `json:"listeners,omitempty"`
	// Shown is what the door shows or signs in with.
	Shown []Shown `json:"shown,omitempty"`
	// Accepts are the credentials that it lets in one by one.
	Accepts []Accepted `json:"accepts,omitempty"`
	// Authorities are the certificates (DER) of CAs all of whose client certificates get in,
	// as far as Denies does not keep them out.
	Authorities [][]byte `json:"authorities,omitempty"`
	// Denies are names of credentials that it refuses, as Public.Names writes them; of
	// those on its CRLs SerialName.
	Denies []string `json:"denies,omitempty"`
	// Notes say what else is worth knowing, such as "reads no CRL", for people.
	Notes []string `json:"notes,omitempty"`
}

// Tidy sorts the lists, and leaves out what is in one of them twice. Listeners of the same
// address, name and protocol are one.
func (v *View) Tidy() {
	slices.SortFunc(v.Listeners, Listener.compare)
	v.Listeners = slices.CompactFunc(v.Listeners, func(a, b Listener) bool { return a.compare(b) == 0 })
	slices.SortFunc(v.Shown, func(a, b Shown) int {
		return cmp.Or(strings.Compare(a.At, b.At), slices.CompareFunc(a.Chain, b.Chain, bytes.Compare), slices.Compare(a.Names(), b.Names()))
	})
	slices.SortFunc(v.Accepts, func(a, b Accepted) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.As, b.As), strings.Compare(a.At, b.At))
	})
	slices.SortFunc(v.Authorities, bytes.Compare)
	v.Authorities = slices.CompactFunc(v.Authorities, bytes.Equal)
	slices.Sort(v.Denies)
	v.Denies = slices.Compact(v.Denies)
	slices.Sort(v.Notes)
	v.Notes = slices.Compact(v.Notes)
}

func (l Listener) compare(other Listener) int {
	return cmp.Or(strings.Compare(l.Address, other.Address), strings.Compare(l.ServerName, other.ServerName), strings.Compare(l.Protocol, other.Protocol))
}

// A Listener is one address of a door, with what a prober must know to sign in there.
type Listener struct {
	Address    string `json:"address"`               // host:port, or the path of a socket
	Protocol   string `json:"protocol"`              // of package driver/probing: "https", "imap", "imaps", "smtp", "postgres", "ssh" ...
	ServerName string `json:"server_name,omitempty"` // for SNI
	// Details are what the protocol wants besides: "path", "user", "database", "recipient" ...
	Details map[string]string `json:"details,omitempty"`
}

// Shown is one credential that a door shows.
type Shown struct {
	Public
	At   string `json:"at"`             // the address of a listener that showed it now, or the path of the file that it is read from
	Live bool   `json:"live,omitempty"` // a listener showed it; false: it is in a file
	Key  bool   `json:"key,omitempty"`  // its private half is there too
}

// Accepted is one credential that gets in.
type Accepted struct {
	Name string `json:"name"`         // one of Public.Names
	As   string `json:"as,omitempty"` // whom it gets in as: an account, a role
	At   string `json:"at,omitempty"` // where that stands: a path, an entry
}

// An InstallRequest says what to install.
type InstallRequest struct {
	Host Host
	New  Material
	// Keep is told what is replaced, with its key where that can be read, before anything
	// is changed; an error of it ends Install. It is not called when New is there already.
	Keep func(Material) error
	Now  func() time.Time
}

// Installed is what came of it.
type Installed struct {
	Changed
	Shown []Shown `json:"shown,omitempty"` // by every listener, in a handshake after the change
}

// Changed says what a verb did.
type Changed struct {
	Changed bool     `json:"changed"`
	How     []string `json:"how,omitempty"`    // "reload", "runtime-api", "crl", "deny-list", "ticket-keys" ..., in the order of doing
	Detail  string   `json:"detail,omitempty"` // for people: files, commands and their answers; no secret
}

// A TrustRequest says whom to let in.
type TrustRequest struct {
	Host Host
	New  Public
	// Like is the credential whose account and rights the new one gets; where the door
	// does not let it in, that is ErrNotFound.
	Like Public
	// LikeKey is the private half of Like where whoever asks has it, for doors that can be
	// changed only by who is let in, once their holder has New alone; nil elsewhere.
	LikeKey crypto.Signer
	// Authorities are certificates of CAs above New, DER, up to the root, for doors that let
	// in whoever a CA has certified, and CRLs are complete lists of each, for those of them
	// that read lists. Empty where the door has them, or where nobody does.
	Authorities [][]byte
	CRLs        [][]byte
	// Withdraw takes away what Trust added, and nothing that was there before.
	Withdraw bool
	Now      func() time.Time
	Used     func(tallystick.Use) // as of LookRequest
}

// A BlockRequest says whom to refuse.
type BlockRequest struct {
	Host Host
	Old  Public
	// CRLs are complete lists, DER, one of each CA from the issuer of Old up, for doors
	// that read lists. Where they name Old, that is not enough where sessions are
	// resumed: see Blocker. Empty when the issuer has none.
	CRLs [][]byte
	// OldKey is the private half of Old where whoever asks has it, for systems at which a
	// credential may take itself away when nobody else can. It may be nil.
	OldKey crypto.Signer
	// Lift undoes what Block did for Old, as far as the door can; lists stay.
	Lift bool
	Now  func() time.Time
	Used func(tallystick.Use) // as of LookRequest
}

// Blocked is what came of it.
type Blocked struct {
	Changed
	Closed int `json:"closed"` // connections of Old that were open and have been closed
	// Left are connections of Old that are still open, and why: such as "pid 4711 from
	// 10.0.0.7:5022: a session of sshd is not closed by it".
	Left []string `json:"left,omitempty"`
}

// A ProbeRequest says what to try where.
type ProbeRequest struct {
	Host       Host // from which machine
	Credential Material
	Listeners  []Listener
	// Sessions are those of an earlier Probed, to be resumed.
	Sessions []byte
	// Hold asks for Sessions and for connections that stay open.
	Hold bool
	Now  func() time.Time
}

// The words of Attempt.Way.
const (
	WayFresh     = "fresh" // a new connection, of the newest version that both speak
	WayFresh12   = "fresh-tls1.2"
	WayFresh13   = "fresh-tls1.3"
	WayResumed12 = "resumed-tls1.2"
	WayResumed13 = "resumed-tls1.3"
	WayOpen      = "open" // a connection that was made before
)

// The words of Attempt.Outcome. Nothing follows from a try that failed: a door that
// cannot be reached has refused nobody.
const (
	OutcomeAccepted = "accepted" // it got in
	OutcomeRefused  = "refused"  // the other side said no to the credential
	OutcomeFailed   = "failed"   // it could not be tried
	// OutcomeNotResumed is a session that the server did not take up and did not refuse:
	// a fresh handshake took its place, which has an Attempt of its own.
	OutcomeNotResumed = "not-resumed"
)

// An Attempt is one try of a credential.
type Attempt struct {
	Listener Listener  `json:"listener"`
	Address  string    `json:"address"` // that was connected to; a name may have several
	Way      string    `json:"way"`
	Outcome  string    `json:"outcome"`
	Answer   string    `json:"answer,omitempty"` // what the other side said, raw but printable, at most 1 KiB
	At       time.Time `json:"at"`
	// Served is the SHA-256 of the certificate that the server showed, hex.
	Served string `json:"served,omitempty"`
	// IDs name the use in the log of the other side, where its protocol tells: "uti", "request",
	// "correlation".
	IDs map[string]string `json:"ids,omitempty"`
}

// Probed is what came of it.
type Probed struct {
	Attempts []Attempt `json:"attempts"`
	// Sessions can be resumed later, by whoever has them: they are secret.
	Sessions []byte `json:"-"`
	// Open are the connections that were asked for by Hold. The caller closes them.
	Open []OpenConnection `json:"-"`
}

// An OpenConnection is one that was signed in with a credential.
type OpenConnection interface {
	// Try uses it once more.
	Try(ctx context.Context) Attempt
	Close() error
}
