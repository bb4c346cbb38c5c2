// SPDX-License-Identifier: Apache-2.0

package sshca_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/sshca"
)

// publicKey returns a new key as a line.
func publicKey(t testing.TB) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(key))
}

func TestRefusedRequests(t *testing.T) {
	lab := catest.New(t)
	lab.Init(t, ca.InitRequest{Name: "ssh", Kind: ca.KindSSH})
	lab.Decide = func(r policy.Request) ca.Decision {
		return ca.Decision{Allowed: r.Principals[0] != "root", Why: "nobody signs in as root"}
	}
	s := sshca.New(lab, lab.DB, time.Now)
	key := publicKey(t)
	names := []string{"deploy"}
	for why, r := range map[string]sshca.SignRequest{
		"names nothing":                     {Key: key},
		"is a pattern":                      {Key: key, Host: true, Names: []string{"*.example.com"}},
		"nobody signs in as root":           {Key: key, Names: []string{"root"}},
		"is not an SSH public key":          {Key: "ssh-ed25519 AAAA", Names: names},
		"more than one public key":          {Key: key + publicKey(t), Names: names},
		"options before it":                 {Key: `command="x" ` + key, Names: names},
		"at most 16384 are read":            {Key: key + strings.Repeat(" ", sshca.MaxKey), Names: names},
		"is not an address":                 {Key: key, Names: names, SourceAddress: "10.0.0.1, 10.0.0.2"},
		"is not a block":                    {Key: key, Names: names, SourceAddress: "10.0.0.1/8"},
		"has control characters":            {Key: key, Names: names, ForceCommand: "a\nb"},
		"has no extension":                  {Key: key, Names: names, Extensions: "permit-everything"},
		"hosts have no options":             {Key: key, Host: true, Names: names, SourceAddress: "10.0.0.1"},
		"is not for what was asked":         {Key: key, Host: true, Names: names, Profile: sshca.UserProfile},
		"longer than certificates":          {Key: key, Names: names, Lifetime: 1000 * time.Hour},
		"signs certificates of kind":        {Key: key, Names: names, Profile: "server", Authority: "ssh"},
		`the CA "elsewhere"`:                {Key: key, Names: names, Authority: "elsewhere"},
		"keys of type \"ssh-ed25519-cert-v": {Key: certificateLine(t), Names: names},
	} {
		_, err := s.Sign(t.Context(), catest.Admin, r)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
		if !errors.Is(err, tallystick.ErrInvalid) && !errors.Is(err, tallystick.ErrDenied) && !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("%s: %v is none of the words that people are told", why, err)
		}
	}
	if n, err := lab.DB.ListIssued(t.Context(), storeAll, nil, 10); err != nil || len(n) > 0 {
		t.Errorf("%d certificates were kept: %v", len(n), err)
	}
}

// certificateLine returns a certificate where a key should be.
func certificateLine(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(c))
}

// Serial numbers grow with time and are not used twice.
func TestSerialNumbers(t *testing.T) {
	lab := catest.New(t)
	lab.Init(t, ca.InitRequest{Name: "ssh", Kind: ca.KindSSH})
	s := sshca.New(lab, lab.DB, time.Now)
	seen := map[ca.Serial]bool{}
	for range 50 {
		signed, err := s.Sign(t.Context(), catest.Admin, sshca.SignRequest{Key: publicKey(t), Names: []string{"deploy"}})
		if err != nil {
			t.Fatal(err)
		}
		serial := signed.Certificate.Serial
		if seconds := fmt.Sprintf("%08x", time.Now().Unix()); seen[serial] || string(serial[:7]) != seconds[:7] {
			t.Errorf("serial %s at %s", serial, seconds)
		}
		seen[serial] = true
		kept, err := lab.Find(t.Context(), serial)
		if err != nil || kept.SHA256 != signed.Certificate.SHA256 || kept.Via != ca.ViaSSH {
			t.Errorf("%+v: %v", kept, err)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add([]byte(publicKey(f)))
	f.Add([]byte("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQ== x"))
	f.Add([]byte(`from="10.0.0.1" ssh-ed25519 AAAA`))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, comment, err := sshca.ParseKey(text)
		if err != nil {
			return
		}
		if _, ok := key.(ssh.CryptoPublicKey); !ok {
			t.Errorf("%T has no form that crypto knows", key)
		}
		if strings.ContainsAny(comment, "\r\n\x00") {
			t.Errorf("comment %q", comment)
		}
	})
}

// A rule that wants somebody's word refuses: the request could not be kept whole.
func TestApprovalIsRefused(t *testing.T) {
	lab := catest.New(t)
	lab.Init(t, ca.InitRequest{Name: "ssh", Kind: ca.KindSSH})
	lab.Decide = func(policy.Request) ca.Decision { return ca.Decision{Allowed: true, Approval: true} }
	_, err := sshca.New(lab, lab.DB, time.Now).Sign(t.Context(), catest.Admin, sshca.SignRequest{Key: publicKey(t), Names: []string{"deploy"}})
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "cannot wait") {
		t.Error(err)
	}
}
