// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// An Exchange puts one credential in the place of another, for doors whose credential
// stands in files of a form that only the driver knows.
type Exchange struct {
	Request driver.InstallRequest
	// Read reads the credential that the files hold, without its key where that cannot be
	// read or belongs to another. Errors that wrap fs.ErrNotExist or ErrInvalid mean that there is
	// none that could be kept.
	Read func(context.Context) (driver.Material, error)
	// Write makes the files of a credential, the certificate's first: a call that was killed
	// between two files is known by the new certificate that stands there already.
	Write         func(context.Context, driver.Material) ([]File, error)
	Check, Reload []string // commands; empty: there is none
	Timeout       time.Duration
	Listeners     []driver.Listener // that show it; none: nobody can see it
	Patience      time.Duration
}

// Do exchanges them, by a Change.
func (e Exchange) Do(ctx context.Context) (driver.Installed, error) {
	if err := CheckCertificate(e.Request.New, e.Request.Now()); err != nil {
		return driver.Installed{}, err
	}
	old, err := e.Read(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, tallystick.ErrInvalid) {
		return driver.Installed{}, err
	}
	files, err := e.Write(ctx, e.Request.New)
	if err != nil {
		return driver.Installed{}, err
	}
	mark := ""
	if len(e.Listeners) == 0 && len(e.Reload) > 0 {
		mark = MarkFor(files[0].Path)
	}
	there := old.Is(e.Request.New.Public) && old.Key != nil && slices.EqualFunc(old.Chain, e.Request.New.Chain, slices.Equal[[]byte])
	if there {
		files = nil // in another form, perhaps, which is somebody's
		if shown, err := e.read(ctx, mark); err != nil || shown != nil {
			return driver.Installed{Shown: shown}, err
		}
	}
	if err := Replaceable(e.Request, old); err != nil {
		return driver.Installed{}, err
	}
	var shown []driver.Shown
	change := Change{
		Host: e.Request.Host, Files: files, Mark: mark,
		Check: Command(e.Request.Host, "check", e.Check, e.Timeout), Reload: Command(e.Request.Host, "reload", e.Reload, e.Timeout),
	}
	if len(e.Listeners) > 0 {
		change.Arrived = func(ctx context.Context) error { shown, err = e.served(ctx, e.Request.New, e.Patience); return err }
		if len(old.Chain) > 0 {
			if _, err := e.served(ctx, old, 0); err == nil {
				change.Returned = func(ctx context.Context) error { _, err := e.served(ctx, old, e.Patience); return err }
			}
		}
	}
	how, err := change.Do(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	return driver.Installed{Changed: driver.Changed{Changed: len(how) > 0, How: how, Detail: e.detail(how, files)}, Shown: shown}, nil
}

// read says whether the system has read the new one, which stands in the files already:
// what it shows is not nil then.
func (e Exchange) read(ctx context.Context, mark string) ([]driver.Shown, error) {
	if len(e.Listeners) > 0 {
		if shown, err := e.served(ctx, e.Request.New, 0); err == nil {
			return shown, nil
		}
		return nil, ctx.Err()
	}
	if mark == "" {
		return []driver.Shown{}, nil
	}
	if unread, err := Marked(ctx, e.Request.Host, mark); err != nil || unread {
		return nil, err
	}
	return []driver.Shown{}, nil
}

func (e Exchange) served(ctx context.Context, m driver.Material, patience time.Duration) ([]driver.Shown, error) {
	return ServedEverywhere(ctx, e.Request.Host, e.Listeners, m.Public, patience, e.Request.Now)
}

// detail names the files and commands of a change.
func (e Exchange) detail(how []string, files []File) string {
	var texts []string
	if slices.Contains(how, "files") {
		for _, f := range files {
			texts = append(texts, "wrote "+f.Path)
		}
	}
	if slices.Contains(how, "reload") {
		texts = append(texts, "ran "+strings.Join(e.Reload, " "))
	}
	return strings.Join(texts, "; ")
}

// Replaceable looks that the certificate of a request is for all that the old one is for,
// and has the old one kept, without a key that is not its own: then a call was killed between
// two files. What is not there, or is the new one already, is not kept. Nothing has been
// changed when it fails.
func Replaceable(r driver.InstallRequest, old driver.Material) error {
	if len(old.Chain)+len(old.SSH)+len(old.Account) == 0 || old.Is(r.New.Public) {
		return nil
	}
	if len(old.Chain) > 0 {
		was, err := x509.ParseCertificate(old.Chain[0])
		if err != nil {
			return invalid("couldn't read the certificate that is replaced: %v", err)
		}
		if len(r.New.Chain) == 0 {
			return invalid("the new credential is no certificate, as the old one is")
		}
		next, err := x509.ParseCertificate(r.New.Chain[0])
		if err != nil {
			return invalid("couldn't read the new certificate: %v", err)
		}
		if err := Covers(next, was); err != nil {
			return err
		}
		if fits(old.Key, was.PublicKey) != nil {
			old.Key = nil
		}
	}
	if r.Keep == nil {
		return nil
	}
	if err := r.Keep(old); err != nil {
		return fmt.Errorf("couldn't keep what would be replaced: %w", err)
	}
	return nil
}
