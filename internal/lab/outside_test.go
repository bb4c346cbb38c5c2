// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/lab"
)

// An outsider is a TB of a program that is no test.
type outsider struct{ cleanups []func() }

func (o *outsider) Helper()                           {}
func (o *outsider) Logf(format string, args ...any)   {}
func (o *outsider) Failed() bool                      { return false }
func (o *outsider) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (o *outsider) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (o *outsider) Cleanup(f func())                  { o.cleanups = append(o.cleanups, f) }

func (o *outsider) TempDir() string {
	dir, err := os.MkdirTemp("", "outsider")
	if err != nil {
		panic(err)
	}
	o.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (o *outsider) end() {
	for len(o.cleanups) > 0 {
		last := len(o.cleanups) - 1
		f := o.cleanups[last]
		o.cleanups = o.cleanups[:last]
		f()
	}
}

// A program that is no test starts the same servers, and signs in to them.
func TestServersOfAProgram(t *testing.T) {
	o := &outsider{}
	defer o.end()
	p := lab.NewPKI(o)
	alice := p.Client(o, "alice")
	mail := lab.StartPostfix(o, lab.PostfixSettings{PKI: p, Clients: map[string]string{lab.PostfixPrint(alice.Chain[0]): "alice"}})
	box := lab.StartDovecot(o, lab.DovecotSettings{PKI: p, CertUsers: []string{"alice"}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bundle := lab.File(o, "alice.pem", lab.BundlePEM(o, alice))
	for name, signIn := range map[string]lab.SignIn{
		"SMTP": lab.OverSMTP(mail.SMTP, nil), "SMTPS": lab.OverSMTPS(mail.SMTPS), "IMAPS": lab.OverIMAPS(box.IMAPS),
	} {
		config, err := lab.Follow(bundle, p.RootFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := signIn(ctx, config); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := signIn(ctx, p.ClientConfig(p.Client(o, "mallory"))); err == nil {
			t.Errorf("%s lets in mallory", name)
		}
	}
}
