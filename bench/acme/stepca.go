// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// startStepCA starts a step-ca with an ACME provisioner and its usual store.
func startStepCA(dir, program string) (target, func(), error) {
	dir = filepath.Join(dir, "step-ca")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return target{}, nil, err
	}
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return target{}, nil, err
		}
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	t := target{
		name: "step-ca", directory: "https://" + address + "/acme/acme/directory", httpPort: ports[1], resolver: fmt.Sprintf("127.0.0.1:%d", ports[2]), roots: filepath.Join(dir, "root.pem"),
	}
	if err := writeStepCA(dir, address); err != nil {
		return t, nil, err
	}
	cmd := exec.Command(program, "--insecure", "--acme-http-port", fmt.Sprint(ports[1]), "--resolver", t.resolver, filepath.Join(dir, "ca.json"))
	cmd.Env = append(os.Environ(), "STEPPATH="+dir)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return t, nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return t, nil, err
	}
	t.pid = cmd.Process.Pid
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	for range 200 {
		if c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err == nil {
			return t, stop, c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	text, _ := os.ReadFile(log.Name())
	return t, nil, errors.New("step-ca did not start: " + string(text))
}

// writeStepCA makes the keys, certificates and configuration of a step-ca.
func writeStepCA(dir, address string) error {
	root, rootKey, err := makeCA("Bench Root", nil, nil)
	if err != nil {
		return err
	}
	sub, subKey, err := makeCA("Bench Intermediate", root, rootKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(subKey)
	if err != nil {
		return err
	}
	settings, err := json.Marshal(map[string]any{
		"root": filepath.Join(dir, "root.pem"), "crt": filepath.Join(dir, "sub.pem"), "key": filepath.Join(dir, "sub.key"), "address": address, "dnsNames": []string{"localhost", "127.0.0.1"},
		"logger": map[string]any{"format": "text"}, "db": map[string]any{"type": "badgerv2", "dataSource": filepath.Join(dir, "db")},
		"authority": map[string]any{"provisioners": []any{map[string]any{"type": "ACME", "name": "acme"}}},
	})
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"root.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}), "sub.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sub.Raw}),
		"sub.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), "ca.json": settings,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func makeCA(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	c, err := x509.ParseCertificate(der)
	return c, key, err
}
