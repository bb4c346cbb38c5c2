// SPDX-License-Identifier: Apache-2.0

// Package issue measures what a certificate costs the server that issues it, beside
// step-ca and the bare signature in the same run. See README.md.
package issue

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/tallystick/tallystick/internal/lab"
)

// workers is how many connections ask at the same time.
const workers = 8

// A server is one that is measured.
type server struct {
	pid    int
	url    string
	client *http.Client
}

// cpu returns the seconds that a process has used so far (proc(5), /proc/pid/stat).
func (s server) cpu(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	const ticks = 100 // of a second: USER_HZ
	var sum float64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += n / ticks
	}
	return sum
}

// drive sends n prepared requests over a few connections, and reports what they cost
// the server for a thousand certificates.
func (s server) drive(b *testing.B, n int, request func(i int) *http.Request, status int) {
	b.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	before := s.cpu(b)
	b.ResetTimer()
	for range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				answer, err := s.client.Do(request(i))
				if err != nil {
					b.Error(err)
					return
				}
				body, err := io.ReadAll(answer.Body)
				answer.Body.Close() // read to its end
				if err != nil || answer.StatusCode != status || !bytes.Contains(body, []byte("BEGIN CERTIFICATE")) {
					b.Errorf("status %d, %v: %.300s", answer.StatusCode, err, body)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric((s.cpu(b)-before)*1000/float64(n), "server-CPU-s/1000")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "certificates/s")
}

// requests makes n requests for a name, each with a key of its own, as PEM.
func requests(b *testing.B, n int) []string {
	b.Helper()
	list := make([]string, n)
	var group sync.WaitGroup
	for w := range 2 {
		group.Go(func() {
			for i := w; i < n; i += 2 {
				name := fmt.Sprintf("host%d.lab.test", i)
				request := &x509.CertificateRequest{DNSNames: []string{name}}
				request.Subject.CommonName = name
				der, err := x509.CreateCertificateRequest(rand.Reader, request, lab.NewKey(b))
				if err != nil {
					b.Error(err)
					return
				}
				list[i] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
			}
		})
	}
	group.Wait()
	return list
}

func clientOf(pool *x509.CertPool) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxConnsPerHost: workers, MaxIdleConnsPerHost: workers, TLSClientConfig: &tls.Config{RootCAs: pool},
	}}
}

func post(b *testing.B, url string, body any, header http.Header) *http.Request {
	b.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	r.Header = header.Clone()
	r.Header.Set("Content-Type", "application/json")
	return r
}

// BenchmarkTallystick asks the API: TLS, an API token, the policy, the lints, the audit
// log and the store with full sync are all in it.
func BenchmarkTallystick(b *testing.B) {
	s, token := startTally(b)
	csrs := requests(b, b.N)
	list := make([]*http.Request, b.N)
	for i, csr := range csrs {
		list[i] = post(b, s.url+"/api/v1/certificates", map[string]any{"csr": csr, "authority": "lab", "profile": "server"}, http.Header{"Authorization": {"Bearer " + token}})
	}
	s.drive(b, b.N, func(i int) *http.Request { return list[i] }, http.StatusOK)
}

// startTally builds and starts Tallystick with a CA and a token.
func startTally(b *testing.B) (server, string) {
	b.Helper()
	dir := b.TempDir()
	tally := filepath.Join(dir, "tally")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", tally, "../../cmd/tally")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	address := lab.Loopback(lab.FreePort(b))
	config := filepath.Join(dir, "tally.yaml")
	text := fmt.Sprintf("data: %s/data\nlisten: %s\ncustody:\n  kind: file\n  file: %s/wrapping.key\ndiscovery:\n  - name: none\n    driver: files\n    targets: [%s]\n    off: true\n", dir, address, dir, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	run := func(args ...string) string {
		out, err := exec.CommandContext(b.Context(), tally, append(args, "--config", config)...).Output()
		if err != nil {
			b.Fatalf("tally %s: %v", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	run("ca", "init", "lab")
	token := run("token", "create", "bench", "--role", "operator")
	p := lab.Start(b, dir, nil, []string{tally, "up", "--config", config}, address)
	pool := x509.NewCertPool()
	certificate := peer(b, address)
	pool.AddCert(certificate)
	return server{pid: p.PID, url: "https://" + address, client: clientOf(pool)}, token
}

// peer returns the certificate that a server on loopback shows, to trust that one.
func peer(b *testing.B, address string) *x509.Certificate {
	b.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // its certificate is what is asked for
	c, err := dialer.DialContext(b.Context(), "tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// BenchmarkStepCA asks step-ca: a one-time token of a JWK provisioner for each, made
// beforehand, as its clients do.
func BenchmarkStepCA(b *testing.B) {
	ca := lab.StartStepCA(b, lab.StepCASettings{})
	roots, err := os.ReadFile(ca.RootFile)
	if err != nil {
		b.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	s := server{pid: ca.PID, url: ca.URL, client: clientOf(pool)}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON([]byte(ca.Key)); err != nil {
		b.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		b.Fatal(err)
	}
	list := make([]*http.Request, b.N)
	for i, csr := range requests(b, b.N) {
		name, now := fmt.Sprintf("host%d.lab.test", i), time.Now()
		token, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": ca.Provisioner, "aud": ca.URL + "/1.0/sign", "sub": name, "sans": []string{name}, "jti": rand.Text(),
			"nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		}).Serialize()
		if err != nil {
			b.Fatal(err)
		}
		list[i] = post(b, ca.URL+"/1.0/sign", map[string]any{"csr": csr, "ott": token}, http.Header{})
	}
	s.drive(b, b.N, func(i int) *http.Request { return list[i] }, http.StatusCreated)
}

// BenchmarkBareSignature makes certificates with crypto/x509 and does nothing else.
func BenchmarkBareSignature(b *testing.B) {
	ca, leaf := lab.NewKey(b), lab.NewKey(b)
	if ca.Curve != elliptic.P256() {
		b.Fatal("another curve")
	}
	now := time.Now()
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1}}
	self := server{pid: os.Getpid()}
	before := self.cpu(b)
	for i := range b.N {
		t := &x509.Certificate{SerialNumber: big.NewInt(int64(i) + 2), DNSNames: []string{"host.lab.test"}, NotBefore: now, NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
		if _, err := x509.CreateCertificate(rand.Reader, t, issuer, &leaf.PublicKey, ca); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((self.cpu(b)-before)*1000/float64(b.N), "server-CPU-s/1000")
}
