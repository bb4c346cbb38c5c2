// SPDX-License-Identifier: Apache-2.0

package dovecot_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/dovecot"
	"github.com/tallystick/tallystick/internal/lab"
)

func (s *server) install(t *testing.T, h driver.Host, options map[string]string) (driver.Installed, error) {
	t.Helper()
	options["config"] = s.Config
	door, err := dovecot.Driver().Open(options)
	if err != nil {
		t.Fatal(err)
	}
	return door.(driver.Installer).Install(t.Context(), driver.InstallRequest{Host: h, New: s.PKI.Localhost(t), Now: time.Now})
}

// unchanged looks that the server shows what it showed at first, and serves.
func (s *server) unchanged(t *testing.T) {
	t.Helper()
	view, err := s.door.(driver.Looker).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if len(view.Shown) != 5 { // a file and four listeners
		t.Errorf("it shows %d credentials, want one in a file and at four listeners", len(view.Shown))
	}
	for _, one := range view.Shown {
		if !one.Is(s.Server.Public) {
			t.Errorf("%s shows something else", one.At)
		}
	}
	if err := s.good(t); err != nil {
		t.Error(err)
	}
}

// A stubborn host has a Dovecot that heeds no reload.
type stubborn struct{ driver.Host }

func (h stubborn) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if slices.Contains(c.Args, "reload") {
		return driver.Output{}, nil
	}
	return h.Host.Run(ctx, c)
}

// What is not shown after the reload is put back, and so are lists that were not read.
func TestUnheededReloadIsPutBack(t *testing.T) {
	t.Parallel()
	s := start(t, lab.DovecotSettings{})
	if _, err := s.install(t, stubborn{host.Local()}, map[string]string{"patience": "500ms"}); err == nil || errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("it gives %v, want an error without damage", err)
	}
	s.unchanged(t)
	door, err := dovecot.Driver().Open(map[string]string{"config": s.Config, "patience": "500ms"})
	if err != nil {
		t.Fatal(err)
	}
	request := driver.BlockRequest{Host: stubborn{host.Local()}, Old: s.alice.Public, CRLs: s.PKI.CRLs(t, s.alice.Public), Now: time.Now}
	if _, err := door.(driver.Blocker).Block(t.Context(), request); err == nil {
		t.Error("a block that Dovecot has not read says that all is well")
	}
	if text, err := os.ReadFile(s.CAFile); err != nil || string(text) != string(s.files[s.CAFile]) {
		t.Errorf("the lists were not put back: %v", err)
	}
}

// What doveconf refuses is not loaded.
func TestCheckerSaysNo(t *testing.T) {
	t.Parallel()
	s := start(t, lab.DovecotSettings{})
	if _, err := s.install(t, refusing{host.Local()}, map[string]string{}); !errors.Is(err, tallystick.ErrInvalid) || errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("it gives %v, want ErrInvalid", err)
	}
	s.unchanged(t)
}

// A refusing host breaks the configuration in the moment when it is checked.
type refusing struct{ driver.Host }

func (h refusing) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if i := slices.Index(c.Args, "-n"); i > 0 {
		path := c.Args[2]
		text, err := os.ReadFile(path)
		if err != nil {
			return driver.Output{}, err
		}
		defer os.WriteFile(path, text, 0o600)
		if err := os.WriteFile(path, append(text, "no_such_setting = 1\n"...), 0o600); err != nil {
			return driver.Output{}, err
		}
	}
	return h.Host.Run(ctx, c)
}

// A name with a certificate of its own: the door says which it is about.
func TestSeveralCertificates(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	text, key := lab.MaterialPEM(t, pki.Localhost(t))
	second := lab.File(t, "second.pem", text)
	s := start(t, lab.DovecotSettings{Main: "local_name localhost {\n  ssl_cert = <" + second + "\n  ssl_key = <" + lab.File(t, "second.key", key) + "\n}\n"})
	if _, err := s.install(t, host.Local(), map[string]string{}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("without the option it gives %v, want ErrInvalid", err)
	}
	installed, err := s.install(t, host.Local(), map[string]string{"certificate": second})
	if err != nil || len(installed.Shown) != 4 {
		t.Errorf("install: %+v, %v", installed.Changed, err)
	}
	if text, err := os.ReadFile(s.CertFile); err != nil || string(text) != string(s.files[s.CertFile]) {
		t.Errorf("the other certificate's file was changed: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, options := range []map[string]string{{"config": "dovecot.conf"}, {"certificate": "x.pem"}, {"patience": "0s"}} {
		if _, err := dovecot.Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}
