// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/est"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/store"
)

// run runs a foreign program in dir and returns what it wrote.
func run(t *testing.T, dir, pack string, command ...string) string {
	t.Helper()
	out, err := try(t, dir, pack, command...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return out
}

func try(t *testing.T, dir, pack string, command ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(command[0])
	if err != nil {
		t.Fatalf("%v: install the Debian package %s", err, pack)
	}
	cmd := exec.CommandContext(t.Context(), path, command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LEAK_DETECTIVE_DISABLE=1")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return string(out) + complaints.String(), err
	}
	return string(out), nil
}

func openssl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return run(t, dir, "openssl", append([]string{"openssl"}, args...)...)
}

// serveLab starts an EST server of a real CA, with a root and one CA below it. dir holds
// root.pem for clients.
func serveLab(t *testing.T) (lab *catest.Lab, url, dir string) {
	t.Helper()
	lab = catest.New(t)
	root := lab.Init(t, ca.InitRequest{Name: "root", CommonName: "Lab root"})
	lab.Init(t, ca.InitRequest{Name: "lab", Parent: "root"})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, err := lab.Issue(t.Context(), catest.Admin, ca.Request{Authority: "lab", PublicKey: key.Public(), Names: &ca.Names{DNS: []string{"localhost"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}})
	if err != nil {
		t.Fatal(err)
	}
	handler := est.New(est.Config{CA: lab, Access: tokens(secret), Default: "lab", Profile: "mutual", Keys: []string{"ecdsa-p256"}, Retry: time.Second, Now: time.Now})
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{DynamicRecordSizingDisabled: true, ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{{Certificate: append([][]byte{own.DER}, own.Chain...), PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	dir = t.TempDir()
	write(t, dir, "root.pem", root.PEM())
	return lab, server.URL, dir
}

// A device with nothing but openssl and curl, as manuals of EST servers describe it.
func TestCurlAndOpenSSL(t *testing.T) {
	lab, url, dir := serveLab(t)
	url += est.Root
	curl := func(args ...string) (string, error) {
		return try(t, dir, "curl", append([]string{"curl", "--silent", "--show-error", "--fail-with-body", "--cacert", "root.pem"}, args...)...)
	}
	must := func(args ...string) {
		t.Helper()
		if out, err := curl(args...); err != nil {
			t.Fatal(err, out)
		}
	}
	must("-o", "ca.b64", url+"lab/cacerts")
	openssl(t, dir, "base64", "-d", "-A", "-in", "ca.b64", "-out", "ca.p7")
	got := openssl(t, dir, "pkcs7", "-inform", "DER", "-in", "ca.p7", "-print_certs", "-noout")
	if !strings.Contains(got, "subject=CN = Lab root") || !strings.Contains(got, "subject=CN = lab") {
		t.Error(got)
	}
	request := func(name string) {
		openssl(t, dir, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name+".key", "-subj", "/CN=device-7",
			"-addext", "subjectAltName=DNS:device-7.example.com", "-outform", "DER", "-out", name+".der")
		openssl(t, dir, "base64", "-in", name+".der", "-out", name+".b64")
	}
	fetch := func(name string) {
		openssl(t, dir, "base64", "-d", "-A", "-in", name+".answer", "-out", name+".p7")
		openssl(t, dir, "pkcs7", "-inform", "DER", "-in", name+".p7", "-print_certs", "-out", name+".pem")
		openssl(t, dir, "pkcs7", "-inform", "DER", "-in", "ca.p7", "-print_certs", "-out", "ca.pem")
		openssl(t, dir, "verify", "-CAfile", "root.pem", "-untrusted", "ca.pem", name+".pem")
	}
	post := []string{"-H", "Content-Type: application/pkcs10"}
	request("first")
	must(append(post, "--user", "device-7:"+secret, "--data-binary", "@first.b64", "-o", "first.answer", url+"lab/simpleenroll")...)
	fetch("first")
	request("second")
	must(append(post, "--cert", "first.pem", "--key", "first.key", "--data-binary", "@second.b64", "-o", "second.answer", url+"lab/simplereenroll")...)
	fetch("second")
	for name, want := range map[string]string{"first": "bootstrap", "second": "est/device-7.example.com"} {
		if c := issuedAs(t, lab, dir, name+".pem"); c.Requester != want || c.Via != ca.ViaEST || c.Profile != "mutual" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if _, err := lab.Revoke(t.Context(), catest.Admin, ca.RevokeRequest{Serials: []ca.Serial{issuedAs(t, lab, dir, "second.pem").Serial}, Reason: ca.Superseded}); err != nil {
		t.Fatal(err)
	}
	request("third")
	out, err := curl(append(post, "--cert", "second.pem", "--key", "second.key", "--data-binary", "@third.b64", url+"lab/simplereenroll")...)
	if err == nil || !strings.Contains(out, "revoked") {
		t.Errorf("a revoked certificate renews: %v %s", err, out)
	}
}

// issuedAs returns what the CA knows of the certificate in a file.
func issuedAs(t *testing.T, lab *catest.Lab, dir, name string) ca.Certificate {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("-----BEGIN"))
	block, _ := pem.Decode(append([]byte("-----BEGIN"), text...))
	if block == nil {
		t.Fatalf("%s holds no certificate", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	found, err := lab.Find(t.Context(), ca.Serial(fmt.Sprintf("%032x", c.SerialNumber)))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// strongSwan's client, which knows only the path without a name of a CA.
func TestStrongSwan(t *testing.T) {
	lab, url, dir := serveLab(t)
	pki := func(args ...string) string {
		t.Helper()
		return run(t, dir, "strongswan-pki libstrongswan-standard-plugins", append([]string{"pki"}, args...)...)
	}
	pki("--estca", "--url", url, "--cacert", "root.pem", "--caout", "got.pem", "--outform", "pem")
	for _, name := range []string{"got.pem", "got-1.pem"} { // the root, and the CA below it
		openssl(t, dir, "x509", "-in", name, "-noout")
	}
	key := func(name string) {
		openssl(t, dir, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name+".key")
		write(t, dir, name+".csr", pki("--req", "--type", "ecdsa", "--in", name+".key", "--dn", "CN=device-8", "--san", "device-8.example.com"))
	}
	enrol := func(name string, args ...string) {
		args = append([]string{"--est", "--url", url, "--in", name + ".csr", "--cacert", "root.pem", "--cacert", "got-1.pem", "--outform", "pem"}, args...)
		write(t, dir, name+".pem", pki(args...))
		openssl(t, dir, "verify", "-CAfile", "root.pem", "-untrusted", "got-1.pem", name+".pem")
	}
	key("first")
	enrol("first", "--userpass", "device-8:"+secret)
	key("second")
	enrol("second", "--cert", "first.pem", "--key", "first.key")
	if c := issuedAs(t, lab, dir, "second.pem"); c.Requester != "est/device-8.example.com" {
		t.Errorf("%+v", c)
	}
}

// After a rollover of the root clients get the new root and its link to the old one, under
// the name that they know.
func TestRollover(t *testing.T) {
	lab, url, dir := serveLab(t)
	if _, err := lab.Prepare(t.Context(), catest.Admin, "root", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Activate(t.Context(), catest.Admin, "root"); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "curl", "curl", "--silent", "--fail", "--cacert", "root.pem", "-o", "ca.b64", url+est.Root+"root/cacerts")
	openssl(t, dir, "base64", "-d", "-A", "-in", "ca.b64", "-out", "ca.p7")
	got := openssl(t, dir, "pkcs7", "-inform", "DER", "-in", "ca.p7", "-print_certs", "-noout")
	for _, issuer := range []string{"Lab root G2", "Lab root"} {
		if want := "subject=CN = Lab root G2\nissuer=CN = " + issuer + "\n"; !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// A client that is told to wait asks again by itself, and gets what was approved.
func TestStrongSwanWaits(t *testing.T) {
	lab, url, dir := serveLab(t)
	openssl(t, dir, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "a.key")
	write(t, dir, "a.csr", run(t, dir, "strongswan-pki", "pki", "--req", "--type", "ecdsa", "--in", "a.key", "--dn", "CN=device-9"))
	lab.Decide = func(policy.Request) ca.Decision {
		return ca.Decision{Allowed: true, Approval: true, Why: "somebody must look"}
	}
	done := make(chan error, 1)
	go func() {
		_, err := try(t, dir, "strongswan-pki", "pki", "--est", "--url", url, "--in", "a.csr", "--cacert", "root.pem", "--interval", "1", "--maxpolltime", "30", "--userpass", "x:"+secret)
		done <- err
	}()
	approve(t, lab)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the client does not ask again")
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// approve waits for a request and lets it have what it asks for.
func approve(t *testing.T, lab *catest.Lab) {
	t.Helper()
	for range 200 {
		waiting, err := lab.Requests(t.Context(), catest.Admin, store.RequestWaiting, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(waiting) > 0 {
			if _, err := lab.Approve(t.Context(), catest.Admin, waiting[0].ID); err != nil {
				t.Fatal(err)
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no request waits for approval")
}
