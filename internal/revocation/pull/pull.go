// SPDX-License-Identifier: Apache-2.0

// Package pull brings lists of revoked certificates to servers that only read files.
//
// What is brought is verified: signed by a CA that the server trusts, not ended, and not older than
// what is there. The file is replaced as a whole or stays as it is, and is never empty: a server
// that found no list would either let everybody in or nobody.
package pull

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/revocation"
)

// A Config says what to bring where.
type Config struct {
	URLs  []string            // of lists
	Files []string            // of further lists, such as that of a root that is offline
	CAs   []*x509.Certificate // that the server trusts, from the issuer to the root
	// Out is the file for all lists, in the order of CAs. Dir is a directory in which OpenSSL finds
	// each by the name of its issuer (HASH.r0). One of the two is named.
	Out, Dir string
	DER      bool // Out is DER, and there is one list
	Now      func() time.Time
	// Changed is called when what the server reads is new, until it has succeeded once. It may be nil.
	Changed func(ctx context.Context) error
}

// A Puller does what its Config says, as often as it is asked to. It is not for several goroutines at once.
type Puller struct {
	c      Config
	client *http.Client
	kept   map[string]kept
}

// New returns a puller.
func New(c Config) *Puller {
	return &Puller{c: c, client: newClient(c.CAs), kept: map[string]kept{}}
}

// A Got is a list that was brought.
type Got struct {
	CA   *x509.Certificate
	List *revocation.List
	Path string // of its file
}

// A Result is what a pull came to.
type Result struct {
	Lists   []Got
	Changed bool                // something was written
	Without []*x509.Certificate // of the CAs, those of which there is no list
}

// Pull brings the lists once. With an error nothing has changed, except when it is that of Changed.
func (p *Puller) Pull(ctx context.Context) (Result, error) {
	var r Result
	all, err := p.gather(ctx)
	if err != nil {
		return r, err
	}
	for _, ca := range p.c.CAs {
		if l := all[string(ca.Raw)]; l != nil {
			r.Lists = append(r.Lists, Got{CA: ca, List: l, Path: p.c.Out})
		} else {
			r.Without = append(r.Without, ca)
		}
	}
	if p.c.DER && len(r.Lists) != 1 {
		return r, problem.With(fmt.Errorf("%w: a file in DER holds one list, and there are %d", tallystick.ErrInvalid, len(r.Lists)), "leave out --der")
	}
	if err := p.compare(&r); err != nil {
		return r, err
	}
	return r, p.deliver(ctx, &r)
}

// Ends says when the first of the lists ends that are there now; false when there is none.
func (p *Puller) Ends() (time.Time, bool) {
	paths := []string{p.c.Out}
	if p.c.Dir != "" {
		paths, _ = filepath.Glob(filepath.Join(p.c.Dir, "*.r[0-9]*")) // the pattern is good
	}
	var ends time.Time
	for _, path := range paths {
		text, err := readFile(path)
		if err != nil {
			continue
		}
		lists, err := listsIn(text)
		if err != nil {
			continue
		}
		for _, l := range lists {
			if _, err := p.issuerOf(l); err == nil && (ends.IsZero() || l.NextUpdate.Before(ends)) {
				ends = l.NextUpdate
			}
		}
	}
	return ends, !ends.IsZero()
}

// gather fetches and verifies everything, and returns the newest list of each CA.
func (p *Puller) gather(ctx context.Context) (map[string]*revocation.List, error) {
	all := map[string]*revocation.List{}
	take := func(from string, text []byte, err error) error {
		if err != nil {
			return err
		}
		lists, err := listsIn(text)
		if err != nil {
			return problem.With(fmt.Errorf("couldn't read %s: %w", from, err), "see what is served there: it has to be a list in DER or PEM")
		}
		for _, l := range lists {
			ca, err := p.check(l)
			if err != nil {
				return fmt.Errorf("couldn't use %s: %w", from, err)
			}
			if have := all[string(ca.Raw)]; have == nil || older(have, l) {
				all[string(ca.Raw)] = l
			}
		}
		return nil
	}
	for _, address := range p.c.URLs {
		body, err := p.get(ctx, address)
		if err := take(address, body, err); err != nil {
			return nil, err
		}
	}
	for _, file := range p.c.Files {
		text, err := readFile(file)
		if err := take(file, text, err); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// check returns whose list it is. It is verified, complete, and valid now.
func (p *Puller) check(l *revocation.List) (*x509.Certificate, error) {
	ca, err := p.issuerOf(l)
	if err != nil {
		return nil, err
	}
	now := p.c.Now()
	switch {
	case l.Part != "":
		return nil, problem.With(errors.New(l.Part),
			"name the URL of the complete list: servers that read files take a part for the whole, or refuse every client")
	case l.NextUpdate.IsZero():
		return nil, problem.With(errors.New("the list does not say until when it is valid"), "ask whoever has the CA: servers could not tell when it is too old")
	case !now.Before(l.NextUpdate):
		return nil, problem.With(fmt.Errorf("the list of %s has ended at %s", ca.Subject, l.NextUpdate.Format(time.RFC3339)),
			"see why its CA signs no new one: servers refuse every client while they have a list that has ended")
	case now.Before(l.ThisUpdate):
		return nil, problem.With(fmt.Errorf("the list of %s begins at %s, which is to come", ca.Subject, l.ThisUpdate.Format(time.RFC3339)),
			"compare the clock of this machine with that of the CA: servers refuse every client while a list is not yet valid")
	}
	return ca, nil
}

func (p *Puller) issuerOf(l *revocation.List) (*x509.Certificate, error) {
	var why error
	for _, ca := range p.c.CAs {
		if !bytes.Equal(ca.RawSubject, l.Issuer) {
			continue
		}
		if err := l.Verify(ca); err == nil {
			return ca, nil
		} else if why == nil {
			why = err
		}
	}
	if why == nil {
		why = errors.New("none of the CAs has the name of its issuer")
	}
	return nil, problem.With(why, "name with --ca the file of the CAs that the server trusts, and only lists of these")
}

// older says whether a list is older than another one of its issuer: by its number, or else by its date.
func older(a, b *revocation.List) bool {
	if a.Number != nil && b.Number != nil {
		return a.Number.Cmp(b.Number) < 0
	}
	return a.ThisUpdate.Before(b.ThisUpdate)
}

// compare looks at what is there already: nothing older takes its place, nor anything else that
// says it is the same.
func (p *Puller) compare(r *Result) error {
	var there []*revocation.List
	for i := range r.Lists {
		got := &r.Lists[i]
		if p.c.Dir != "" {
			path, err := hashedPath(p.c.Dir, got)
			if err != nil {
				return err
			}
			got.Path, there = path, nil
		}
		if there == nil {
			text, err := readFile(got.Path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			// What cannot be read is no list, and is replaced.
			if there, err = listsIn(text); err != nil {
				there = nil
			}
		}
		for _, have := range there {
			if have.Verify(got.CA) != nil || bytes.Equal(have.DER, got.List.DER) {
				continue
			}
			if !older(have, got.List) {
				return problem.With(fmt.Errorf("the list of %s in %s has number %s, and the one that was fetched %s",
					got.CA.Subject, got.Path, number(have), number(got.List)), "somebody serves an old list, or the CA was restored from a backup; the file stays as it is")
			}
		}
	}
	return nil
}

func number(l *revocation.List) string {
	if l.Number == nil {
		return "none, of " + l.ThisUpdate.Format(time.RFC3339)
	}
	return l.Number.String()
}

// hashedPath returns the name under which OpenSSL finds a list in a directory: that of the one of
// the same CA which is there, or the first that is free.
func hashedPath(dir string, got *Got) (string, error) {
	hash, err := NameHash(got.List.Issuer)
	if err != nil {
		return "", err
	}
	for n := range 100 {
		path := filepath.Join(dir, fmt.Sprintf("%s.r%d", hash, n))
		text, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		lists, err := listsIn(text)
		if err == nil && lists[0].Verify(got.CA) == nil {
			return path, nil
		}
	}
	return "", problem.With(fmt.Errorf("%s is full of lists of other CAs of that name", dir), "take out those that are not needed any more")
}

// deliver writes what is new, and tells the server.
func (p *Puller) deliver(ctx context.Context, r *Result) error {
	files := map[string][]byte{}
	for _, got := range r.Lists {
		if p.c.DER {
			files[got.Path] = got.List.DER
			continue
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: got.List.DER})
		files[got.Path] = append(files[got.Path], text...)
	}
	if len(files) == 0 {
		return problem.With(errors.New("there is no list to write"), "name the URL of a list with --url")
	}
	mark := p.mark()
	for path, text := range files {
		old, err := readFile(path)
		if err == nil && bytes.Equal(old, text) {
			continue
		}
		// From here on the server has to be told, also when we are killed before that.
		if p.c.Changed != nil {
			if err := replace(mark, []byte("the server has not read the new lists yet\n")); err != nil {
				return err
			}
		}
		if err := replace(path, text); err != nil {
			return err
		}
		r.Changed = true
	}
	return p.tell(ctx, mark)
}
