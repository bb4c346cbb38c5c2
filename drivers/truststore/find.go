// SPDX-License-Identifier: Apache-2.0

package truststore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/parse"
)

// Find looks at every store, one after the other.
func (f *Finder) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	paths, err := parseTargets(request.Targets)
	if err != nil {
		return err
	}
	if len(request.Targets) == 0 {
		if paths, err = stores("/"); err != nil {
			return err
		}
	}
	work := parse.NewWork(lookWork)
	for i, path := range paths {
		s := store{
			place: tallystick.TrustStorePlace(path), now: request.Now, sink: sink,
			seen: map[tallystick.Fingerprint]bool{}, work: work.Part(storeWork),
		}
		if !f.options.Passphrase.IsZero() {
			s.passphrases = []string{f.options.Passphrase.Reveal()}
		}
		if err := s.look(ctx, path); err != nil {
			return err
		}
		sink.Progress(int64(i+1), int64(len(paths)))
	}
	return ctx.Err()
}

// What is spent on trying passphrases, in a look and of that in one store, since
// whoever writes a keystore says how long a try takes.
const (
	lookWork  = 30 * time.Second
	storeWork = 5 * time.Second
)

// parseTargets reads absolute paths, with or without truststore:// before them.
func parseTargets(targets []string) ([]string, error) {
	var paths []string
	for _, target := range targets {
		path := target
		if strings.HasPrefix(target, "truststore://") {
			path = tallystick.Place(target).Path()
		}
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("%w: %q is not the absolute path of a trust store", tallystick.ErrInvalid, target)
		}
		paths = append(paths, filepath.Clean(path))
	}
	return paths, nil
}

// A store is one trust store that is being looked at.
type store struct {
	place       tallystick.Place
	passphrases []string
	work        *parse.Work
	now         func() time.Time
	sink        driver.Sink
	seen        map[tallystick.Fingerprint]bool // certificates that were reported
}

// look reports what is in the store at path. Its error is one of the sink or
// of ctx.
func (s *store) look(ctx context.Context, path string) error {
	files, err := files(path)
	if err != nil {
		return s.miss(err)
	}
	missed := false
	for _, file := range files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		data, err := read(file)
		if err != nil {
			missed = true
			if err := s.miss(err); err != nil {
				return err
			}
			continue
		}
		result := parse.BytesWithin(ctx, s.work.Part(parse.MaxFileWork), filepath.Base(file), data, s.passphrases)
		if slices.ContainsFunc(result.Items, sealed) {
			result.Problems = append(result.Problems, parse.Problem{Word: "sealed", Detail: "it opens with none of the passphrases"})
		}
		missed = missed || len(result.Problems) > 0
		if err := s.report(ctx, file, result); err != nil {
			return err
		}
	}
	if len(s.seen) == 0 && !missed {
		return s.miss(&lookError{word: "no-certificate", detail: "no trusted certificate in " + path})
	}
	return nil
}

// report tells of everything new in one file.
func (s *store) report(ctx context.Context, file string, result parse.Result) error {
	for _, problem := range result.Problems {
		if err := s.miss(&lookError{word: problem.Word, detail: file + ": " + problem.Detail}); err != nil {
			return err
		}
	}
	for _, item := range result.Items {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !trusted(item) || s.seen[item.Credential.ID] {
			continue
		}
		s.seen[item.Credential.ID] = true
		err := s.sink.Saw(tallystick.Sighting{
			Credential: item.Credential, Place: s.place, Role: tallystick.RoleAccepts, Seen: s.now(),
			Facts: tallystick.Facts{File: &tallystick.FileFacts{Format: item.Format, Alias: item.Alias}},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// trusted says whether an item of a store is one that is believed: every
// certificate of a bundle, but of a keystore only trusted entries, not the
// chain of an entry with a private key.
func trusted(item parse.Item) bool {
	if item.Credential.Kind != tallystick.KindCertificate {
		return false
	}
	switch item.Format {
	case "jks", "jceks", "pkcs12":
		return item.Role == tallystick.RoleAccepts
	}
	return true
}

// sealed says whether an item is a keystore that could not be opened.
func sealed(item parse.Item) bool { return item.Credential.Kind == tallystick.KindSealed }

// A lookError says why a part of a store was not seen.
type lookError struct{ word, detail string }

func (e *lookError) Error() string { return e.detail }

func (s *store) miss(err error) error {
	m := tallystick.Miss{Place: s.place, Error: "unreadable", Detail: err.Error(), Seen: s.now()}
	var look *lookError
	switch {
	case errors.As(err, &look):
		m.Error = look.word
	case errors.Is(err, fs.ErrNotExist):
		m.Error = "not-found"
	case errors.Is(err, fs.ErrPermission):
		m.Error = "denied"
	}
	return s.sink.Missed(m)
}
