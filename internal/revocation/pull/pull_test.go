// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/problem"
)

func TestPullWritesOneListForEachCA(t *testing.T) {
	h := newHouse(t)
	told := 0
	c := h.config(func(context.Context) error { told++; return nil })
	puller := New(c)
	for step, want := range []bool{true, false, true} {
		if step == 2 {
			h.revoke(h.issue("bob"))
		}
		r, err := puller.Pull(t.Context())
		if err != nil || r.Changed != want || len(r.Lists) != 2 || len(r.Without) != 0 {
			t.Errorf("step %d: %+v, %v", step, r, err)
		}
	}
	if told != 2 {
		t.Errorf("the server was told %d times of 2 changes", told)
	}
	lists, err := ReadFile(c.Out)
	must(t, err)
	n, err := lists[0].Count()
	if err != nil || n != 1 || len(lists) != 2 || lists[0].Verify(h.lab.cert) != nil || lists[1].Verify(h.root.cert) != nil {
		t.Errorf("%d lists, %d entries, %v", len(lists), n, err)
	}
	out, err := exec.Command("openssl", "crl", "-in", c.Out, "-noout", "-verify", "-CAfile", h.path("ca.pem")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "verify OK") {
		t.Errorf("openssl says %s, %v", out, err)
	}
	left, err := filepath.Glob(h.path(".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("it leaves %q, %v", left, err)
	}
}

func TestTheServerIsToldUntilItHasHeard(t *testing.T) {
	h := newHouse(t)
	told := 0
	c := h.config(func(context.Context) error {
		if told++; told < 3 {
			return errors.New("reload failed")
		}
		return nil
	})
	for step := range 4 { // each as a process of its own
		_, err := New(c).Pull(t.Context())
		if (err == nil) != (step >= 2) {
			t.Errorf("step %d: %v", step, err)
		}
	}
	if told != 3 {
		t.Errorf("told %d times", told)
	}
}

func TestModeOwnerAndLinksStay(t *testing.T) {
	h := newHouse(t)
	c := h.config(nil)
	must(t, os.Mkdir(h.path("real"), 0o755))
	must(t, os.WriteFile(h.path("real/crl.pem"), nil, 0o600))
	must(t, os.Chmod(h.path("real/crl.pem"), 0o640))
	if os.Getuid() == 0 {
		must(t, os.Chown(h.path("real/crl.pem"), 12, 34))
	}
	must(t, os.Symlink("real/crl.pem", c.Out))
	h.pull(c)
	info, err := os.Lstat(h.path("real/crl.pem"))
	must(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	if info.Mode().Perm() != 0o640 || info.Size() == 0 || os.Getuid() == 0 && (owner.Uid != 12 || owner.Gid != 34) {
		t.Errorf("%s, %d octets, owner %d:%d", info.Mode(), info.Size(), owner.Uid, owner.Gid)
	}
	if link, err := os.Readlink(c.Out); err != nil || link != "real/crl.pem" {
		t.Errorf("the link is %q, %v", link, err)
	}
}

// Whatever goes wrong, the file stays as it was.
func TestTheOldFileStaysWhenAnythingFails(t *testing.T) {
	h := newHouse(t)
	c := h.config(nil)
	h.pull(c)
	good, err := os.ReadFile(c.Out)
	must(t, err)
	list := func(ca *x509.Certificate, key *authority, number int64, this, next time.Time) []byte {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: this, NextUpdate: next}, ca, key.key)
		must(t, err)
		return der
	}
	hour := time.Hour
	stranger := h.newAuthority(9, "lab", nil)
	for name, body := range map[string][]byte{
		"nothing":          {},
		"a page":           []byte("<html>not found</html>"),
		"half":             list(h.lab.cert, h.lab, 9, h.now, h.now.Add(hour))[:90],
		"another key":      list(stranger.cert, stranger, 9, h.now, h.now.Add(hour)),
		"ended":            list(h.lab.cert, h.lab, 9, h.now.Add(-2*hour), h.now.Add(-hour)),
		"to come":          list(h.lab.cert, h.lab, 9, h.now.Add(hour), h.now.Add(2*hour)),
		"an old number":    list(h.lab.cert, h.lab, 0, h.now, h.now.Add(hour)),
		"the same, anew":   list(h.lab.cert, h.lab, 1, h.now, h.now.Add(hour)),
		"a PEM of nothing": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.lab.cert.Raw}),
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
			defer server.Close()
			bad := c
			bad.Changed = func(context.Context) error { t.Error("the server was told"); return nil }
			bad.URLs = []string{server.URL + "/pki/lab.crl", h.base + "/pki/root.crl"}
			if r, err := New(bad).Pull(t.Context()); err == nil || r.Changed {
				t.Errorf("%+v", r)
			}
			if now, err := os.ReadFile(c.Out); err != nil || !bytes.Equal(now, good) {
				t.Errorf("the file is another one, %v", err)
			}
		})
	}
	for name, address := range map[string]string{"nobody there": "http://127.0.0.1:1/lab.crl", "no list there": h.base + "/pki/other.crl", "a file": "file:///etc/passwd"} {
		bad := c
		bad.URLs = []string{address}
		if _, err := New(bad).Pull(t.Context()); err == nil || strings.Contains(err.Error(), "root:") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now, err := os.ReadFile(c.Out); err != nil || !bytes.Equal(now, good) {
		t.Errorf("the file is another one, %v", err)
	}
}

func TestAStaleListHasAHint(t *testing.T) {
	h := newHouse(t)
	c := h.config(nil)
	h.pull(c)
	h.now = h.now.AddDate(0, 0, 8)
	_, err := New(c).Pull(t.Context())
	if err == nil || !strings.Contains(err.Error(), "has ended at") || !strings.Contains(problem.Of(err).Hint, "signs no new one") {
		t.Errorf("%v", err)
	}
	if ends, ok := New(c).Ends(); !ok || !ends.Before(h.now) {
		t.Errorf("%s %v", ends, ok)
	}
}

func TestARedirectElsewhereIsNotFollowed(t *testing.T) {
	h := newHouse(t)
	server := httptest.NewServer(http.RedirectHandler(h.base+"/pki/lab.crl", http.StatusFound))
	defer server.Close()
	c := h.config(nil)
	c.URLs = []string{server.URL}
	if _, err := New(c).Pull(t.Context()); err == nil || !strings.Contains(err.Error(), "it leads elsewhere") {
		t.Errorf("%v", err)
	}
}

func TestMergeAndWithout(t *testing.T) {
	h := newHouse(t)
	c := h.config(nil)
	h.pull(c)
	lists, err := ReadFile(c.Out)
	must(t, err)
	must(t, os.WriteFile(h.path("root.crl"), lists[1].DER, 0o600))
	c.URLs = c.URLs[:1]
	c.Out = h.path("two.pem")
	if r := h.pull(c); len(r.Without) != 1 || r.Without[0] != h.root.cert {
		t.Errorf("without the root's: %+v", r)
	}
	c.Files = []string{h.path("root.crl")}
	if r := h.pull(c); len(r.Without) != 0 || len(r.Lists) != 2 {
		t.Errorf("with the root's: %+v", r)
	}
	c.DER = true
	if _, err := New(c).Pull(t.Context()); err == nil {
		t.Error("two lists in one file of DER")
	}
}

// OpenSSL finds in the directory what it needs to refuse a certificate.
func TestOpenSSLFindsListsInADirectory(t *testing.T) {
	h := newHouse(t)
	c := h.config(nil)
	c.Out, c.Dir = "", h.path("crls")
	must(t, os.Mkdir(c.Dir, 0o755))
	bob := h.issue("bob")
	verify := func() (string, error) {
		out, err := exec.Command("openssl", "verify", "-crl_check_all", "-CAfile", h.path("ca.pem"), "-CApath", c.Dir, h.path("bob.pem")).CombinedOutput()
		return string(out), err
	}
	// A list of somebody else under the same name must not be in the way.
	r := h.pull(c)
	other := h.newAuthority(3, "lab", h.root)
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: h.now, NextUpdate: h.now.Add(time.Hour)}, other.cert, other.key)
	must(t, err)
	must(t, os.WriteFile(r.Lists[0].Path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600))
	for step := range 3 {
		if step == 1 {
			h.revoke(bob)
		}
		r := h.pull(c)
		if !strings.HasSuffix(r.Lists[0].Path, ".r1") || !strings.HasSuffix(r.Lists[1].Path, ".r0") {
			t.Errorf("%s, %s", r.Lists[0].Path, r.Lists[1].Path)
		}
		if said, err := verify(); (err == nil) != (step == 0) || step > 0 && !strings.Contains(said, "certificate revoked") {
			t.Errorf("step %d: openssl says %s, %v", step, said, err)
		}
	}
}

func TestNameHashIsThatOfOpenSSL(t *testing.T) {
	for _, subject := range []string{"/CN=a", "/C=DE/O=Lab  Ltd./CN=  Root   CA ", "/O=LAB/OU=x+CN=y+OU=A", "/CN=Zoë Ünal", "/emailAddress=PKI@Example.COM/CN=x",
		"/DC=example/DC=lab/CN=1", "/CN=日本 CA"} {
		for _, mask := range []string{"utf8only", "MASK:0x800", "pkix", "default"} { // 0x800: BMPString
			dir := t.TempDir()
			config := fmt.Sprintf("[req]\nstring_mask=%s\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=x\n", mask)
			must(t, os.WriteFile(dir+"/c", []byte(config), 0o600))
			out, err := exec.Command("openssl", "req", "-config", dir+"/c", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8", "-multivalue-rdn", "-subj", subject, "-keyout", dir+"/k", "-out", dir+"/ca").CombinedOutput()
			if err != nil {
				t.Fatalf("%s", out)
			}
			want, err := exec.Command("openssl", "x509", "-in", dir+"/ca", "-noout", "-subject_hash").Output()
			must(t, err)
			text, err := os.ReadFile(dir + "/ca")
			must(t, err)
			block, _ := pem.Decode(text)
			c, err := x509.ParseCertificate(block.Bytes)
			must(t, err)
			if got, err := NameHash(c.RawSubject); err != nil || got != strings.TrimSpace(string(want)) {
				t.Errorf("%s (%s): %s, %v; openssl has %s", subject, mask, got, err, want)
			}
		}
	}
}

func FuzzNameHash(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Add([]byte("\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a"))
	f.Add([]byte("\x30\x0d\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x1e\x02\x00a"))
	f.Fuzz(func(t *testing.T, name []byte) {
		if hash, err := NameHash(name); err == nil && len(hash) != 8 {
			t.Errorf("%q", hash)
		}
	})
}
