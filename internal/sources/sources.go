// SPDX-License-Identifier: Apache-2.0

// Package sources is where uses come from while a server runs: files that grow
// and are rotated, directories that files are put into, senders that post use
// records, OpenTelemetry logs or syslog messages, and real systems whose logs a
// driver reads, by the thousand. docs/sources.md is its manual.
//
// A source is a book: whatever it gives carries its name and its side, so that
// nobody can write into the book of another. What is read is kept as it was
// received (package archive), handed to the Appender, and only when that has made
// it durable is the position stored from which reading goes on. So a crash at any
// instant makes some records come twice, which changes nothing, and loses none.
// While the Appender cannot take more, nothing is read; the source says why.
package sources

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/archive"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

// An Appender takes what was read.
type Appender interface {
	// Append takes a batch of a source in. When it returns nil all of it is
	// durable; when it does not, some of it may be, and it is handed over again.
	// It may keep the memory of the batch.
	Append(ctx context.Context, source string, batch ledger.Batch, changes []tallystick.Change) (ledger.Appended, error)
}

// Config is what New needs. Commands that only add and list sources leave out
// Appender and Archive.
type Config struct {
	DB       *store.DB
	Gate     *gate.Gate
	Appender Appender
	Archive  *archive.Archive // nil keeps nothing raw
	Now      func() time.Time
	// Poll is how long to wait between two looks at files, half a second when it
	// is 0.
	Poll time.Duration
	// Drivers are those that sources of kind driver can name, as far as they watch.
	Drivers []driver.Driver
	// Named are those that the configuration names, with their options: see mayName.
	Named []Named
	// Used is told of each sign-in that a driver itself makes, as of driver.WatchRequest. It
	// may be nil.
	Used func(tallystick.Use)
	// Rounds is how many sources of drivers are read at a time, 16 when it is 0.
	Rounds int
}

// Sources reads them. Its methods are safe to call from several goroutines.
type Sources struct {
	Config
	wake chan struct{} // has something when a source was added here
	seed maphash.Seed  // of what remembers records

	mu        sync.Mutex
	receiving map[int64]int // guarded by mu; deliveries that are being read, by source
	connected int           // guarded by mu; syslog connections
}

// New returns the sources of a store.
func New(c Config) *Sources {
	if c.Poll == 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.Rounds == 0 {
		c.Rounds = defaultRounds
	}
	return &Sources{Config: c, wake: make(chan struct{}, 1), seed: maphash.MakeSeed(), receiving: map[int64]int{}}
}

// DefaultKeepRaw is for how long what a source wrote is kept, unless it says
// otherwise.
const DefaultKeepRaw = 30 * 24 * time.Hour

// CertificatePrefix stands before the SHA-256 of a client certificate's DER in
// the place of a token's hash, for sources of kind syslog.
const CertificatePrefix = "cert-sha256:"

// tokenPrefix lets people and secret scanners tell what they are looking at.
const tokenPrefix = "tallysrc_"

// Kinds returns the kinds of sources.
func Kinds() []string {
	return []string{store.SourceFile, store.SourceDirectory, store.SourceHTTP, store.SourceOTLP, store.SourceSyslog, store.SourceDriver}
}

// Add registers a source, which is read from within 2 seconds. For senders over
// HTTP it returns the token that they show, which cannot be had again; for
// syslog, certificate is the SHA-256 of the client certificate in hexadecimal.
func (s *Sources) Add(ctx context.Context, by gate.Actor, one store.Source, certificate string) (token string, added store.Source, err error) {
	if err := s.Gate.Check(ctx, by, gate.ManageSources, s.object(one)); err != nil {
		return "", store.Source{}, err
	}
	if err := s.refuse(ctx, by, one); err != nil {
		return "", store.Source{}, err
	}
	if err := s.check(one); err != nil {
		return "", store.Source{}, err
	}
	switch one.Kind {
	case store.SourceHTTP, store.SourceOTLP:
		token, one.TokenHash = newToken()
	case store.SourceSyslog:
		if one.TokenHash, err = s.certificateHash(ctx, certificate); err != nil {
			return "", store.Source{}, err
		}
	}
	if certificate != "" && one.Kind != store.SourceSyslog {
		return "", store.Source{}, invalid("a source of kind "+one.Kind+" has no client certificate", "Only senders of syslog show one.")
	}
	one.Created, one.CreatedBy = s.Now().UTC().Truncate(time.Microsecond), by.Name
	added, err = s.DB.AddSource(ctx, one)
	if errors.Is(err, tallystick.ErrConflict) {
		err = problem.With(err, fmt.Sprintf("There is a source called %s already. Choose another name, or remove that one first.", one.Name))
	}
	if err != nil {
		return "", store.Source{}, err
	}
	s.nudge()
	return token, added, nil
}

// nudge has Run look for new sources at once.
func (s *Sources) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// AddEach registers many sources of drivers at once, and returns how many are new:
// those that are there already stay as they are, so that a list that has grown can be
// added again.
func (s *Sources) AddEach(ctx context.Context, by gate.Actor, list []store.Source) (added int, err error) {
	if len(list) == 0 {
		return 0, nil
	}
	what := fmt.Sprintf("%s, and %d more", s.object(list[0]), len(list)-1)
	if err := s.Gate.Check(ctx, by, gate.ManageSources, what); err != nil {
		return 0, err
	}
	there, err := s.DB.Sources(ctx)
	if err != nil {
		return 0, err
	}
	known := make(map[string]*store.Source, len(there))
	for i := range there {
		known[there[i].Name] = &there[i]
	}
	var fresh []store.Source
	for _, one := range list {
		if old := known[one.Name]; old != nil && old.Driver == one.Driver && maps.Equal(old.Options, one.Options) {
			continue
		} else if old != nil {
			return 0, problem.With(fmt.Errorf("couldn't keep source %s: %w", one.Name, tallystick.ErrConflict),
				fmt.Sprintf("There is another source called %s already. Choose another pattern for the names, or remove that one first.", one.Name))
		}
		if err := s.refuse(ctx, by, one); err != nil {
			return 0, err
		}
		if err := s.check(one); err != nil {
			return 0, fmt.Errorf("source %s: %w", one.Name, err)
		}
		if one.Kind != store.SourceDriver {
			return 0, invalid("only sources of drivers are added many at a time", "Add the others one by one.")
		}
		one.Created, one.CreatedBy = s.Now().UTC().Truncate(time.Microsecond), by.Name
		fresh, known[one.Name] = append(fresh, one), &one
	}
	if err := s.DB.AddSources(ctx, fresh); err != nil {
		return 0, err
	}
	s.nudge()
	return len(fresh), nil
}

func newToken() (token, hash string) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails (crypto/rand.Read)
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	return token, hashOf(token)
}

// hashOf returns what stands for a token in the store. Tokens are as good as
// random keys, so a fast hash without salt is enough.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// certificateHash reads the fingerprint of a client certificate, which belongs to
// one source.
func (s *Sources) certificateHash(ctx context.Context, fingerprint string) (string, error) {
	digest, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimPrefix(fingerprint, CertificatePrefix)))
	if err != nil || len(digest) != sha256.Size {
		return "", invalid("a source of kind syslog needs the SHA-256 of its sender's certificate",
			"openssl x509 -in client.pem -noout -fingerprint -sha256 writes it.")
	}
	hash := CertificatePrefix + hex.EncodeToString(digest)
	other, err := s.DB.SourceOfToken(ctx, hash)
	if err == nil {
		return "", invalid("that certificate is registered for source "+other.Name, "Give each sender a certificate of its own.")
	}
	if !errors.Is(err, tallystick.ErrNotFound) {
		return "", err
	}
	return hash, nil
}

// OwnPrefix is how the names of books begin that this program itself keeps, such as that of
// package tries: who could write into one could have a thief's uses taken for its own.
const OwnPrefix = "tallystick-"

var sourceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func invalid(what, hint string) error {
	return problem.With(fmt.Errorf("%w: %s", tallystick.ErrInvalid, what), hint)
}

// check refuses what cannot be read.
func (s *Sources) check(one store.Source) error {
	switch {
	case !sourceName.MatchString(one.Name):
		return invalid(fmt.Sprintf("%q cannot be the name of a source", one.Name), "A name has 1 to 100 letters, digits, dots, hyphens and underscores.")
	case strings.HasPrefix(strings.ToLower(one.Name), OwnPrefix):
		return invalid(fmt.Sprintf("%q cannot be the name of a source", one.Name), "Names that begin with "+OwnPrefix+" are those of books that Tallystick itself keeps. Choose another.")
	case !slices.Contains(Kinds(), one.Kind):
		return invalid(fmt.Sprintf("%q is no kind of source", one.Kind), "It is one of "+strings.Join(Kinds(), ", ")+".")
	case one.Side != tallystick.SideHolder && one.Side != tallystick.SideRelying:
		return invalid("a source has a side", "It is holder for a book of those who have the key, and relying for a log of those who accept it.")
	case one.Settle < 0 || one.Silence < 0 || one.KeepRaw < 0:
		return invalid("a time cannot be negative", "Zero turns it off.")
	}
	return errors.Join(checkFormat(one), checkPath(one), s.checkDriver(one))
}

func (s *Sources) checkDriver(one store.Source) error {
	switch {
	case one.Kind != store.SourceDriver && (one.Driver != "" || len(one.Options) > 0):
		return invalid("a source of kind "+one.Kind+" has no driver", "Use --kind driver, or leave out the driver and its options.")
	case one.Kind != store.SourceDriver:
		return nil
	case one.Format != "" || one.Settle != 0:
		return invalid("a driver knows itself how its logs are written and how late they are", "Leave out --format and --settle.")
	}
	_, err := s.openWatcher(one)
	return err
}

func checkFormat(one store.Source) error {
	if one.Format != "" {
		stream, err := uses.NewStream(one.Format, uses.Settings{})
		if err != nil {
			return problem.With(err, "It is one of "+strings.Join(uses.FormatNames(), ", ")+".")
		}
		if stream.Following() && (one.Kind == store.SourceHTTP || one.Kind == store.SourceOTLP) {
			return invalid(one.Format+" can be read in the order of a file only", "Use --kind file or --kind syslog for it.")
		}
	}
	if one.Format == "" && one.Kind == store.SourceSyslog {
		return invalid("a source of kind syslog needs a format", "A message alone does not show how it is written: say so with --format.")
	}
	return nil
}

func checkPath(one store.Source) error {
	reads := one.Kind == store.SourceFile || one.Kind == store.SourceDirectory
	switch {
	case reads && !filepath.IsAbs(one.Path):
		return invalid("a source of kind "+one.Kind+" needs an absolute path", "Name the "+one.Kind+" behind the flags.")
	case !reads && one.Path != "":
		return invalid("a source of kind "+one.Kind+" has no path", "What it has to say is sent.")
	case !reads && one.Once:
		return invalid("only files and directories are read once", "Leave --once out.")
	}
	return nil
}

// Remove forgets a source; what it gave stays, and what is kept raw until it has
// expired.
func (s *Sources) Remove(ctx context.Context, by gate.Actor, name string) error {
	return s.manage(ctx, by, "remove", name, s.DB.RemoveSource)
}

// Pause keeps a source from being read; senders are told to come again later.
func (s *Sources) Pause(ctx context.Context, by gate.Actor, name string) error {
	return s.manage(ctx, by, "pause", name, func(ctx context.Context, id int64) error { return s.DB.PauseSource(ctx, id, true) })
}

// Resume lets a paused source go on where it stood.
func (s *Sources) Resume(ctx context.Context, by gate.Actor, name string) error {
	return s.manage(ctx, by, "resume", name, func(ctx context.Context, id int64) error { return s.DB.PauseSource(ctx, id, false) })
}

func (s *Sources) manage(ctx context.Context, by gate.Actor, verb, name string, act func(context.Context, int64) error) error {
	if err := s.Gate.Check(ctx, by, gate.ManageSources, verb+" "+name); err != nil {
		return err
	}
	one, err := s.DB.Source(ctx, name)
	if err != nil {
		return err
	}
	return act(ctx, one.ID)
}

// List returns all sources, by name.
func (s *Sources) List(ctx context.Context, by gate.Actor) ([]store.Source, error) {
	if err := s.Gate.Check(ctx, by, gate.ReadSources, "list"); err != nil {
		return nil, err
	}
	return s.DB.Sources(ctx)
}
