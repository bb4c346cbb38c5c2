// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// maxOccurrences is how many places of one credential the file names.
const maxOccurrences = 100

// writeCycloneDX writes a cryptographic bill of materials, CycloneDX 1.6 in
// JSON (ECMA-424). Every credential is a component, and so are the key that it
// carries and the algorithms: a certificate refers to its key and to how it was
// signed, a key to its algorithm. Components are encoded one at a time, because
// a whole document in memory would not do for a million of them.
func (s *Source) writeCycloneDX(ctx context.Context, w io.Writer) error {
	d := &document{Source: s, out: bufio.NewWriter(w), algorithms: map[string]cdx.Component{}}
	if err := d.begin(); err != nil {
		return err
	}
	err := s.each(ctx, func(rows []store.CredentialRow) error {
		for _, r := range rows {
			if err := d.credential(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, ref := range slices.Sorted(maps.Keys(d.algorithms)) {
		if err := d.add(d.algorithms[ref]); err != nil {
			return err
		}
	}
	if _, err := d.out.WriteString("]}\n"); err != nil {
		return err
	}
	return d.out.Flush()
}

// A document is one that is being written.
type document struct {
	*Source
	out        *bufio.Writer
	some       bool                     // components are written
	algorithms map[string]cdx.Component // by bom-ref; there are few
}

// begin writes what stands before the components.
func (d *document) begin() error {
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("couldn't make a serial number: %w", err)
	}
	head := cdx.BOM{
		BOMFormat: cdx.BOMFormat, SpecVersion: cdx.SpecVersion1_6, SerialNumber: "urn:uuid:" + id.String(), Version: 1,
		JSONSchema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
		Metadata: &cdx.Metadata{
			Timestamp: d.now.UTC().Format(time.RFC3339),
			Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "Tallystick"}}},
		},
	}
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	_, err = d.out.WriteString(strings.TrimSuffix(string(text), "}") + `,"components":[`)
	return err
}

// add writes a component.
func (d *document) add(c cdx.Component) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if d.some {
		if err := d.out.WriteByte(','); err != nil {
			return err
		}
	}
	d.some = true
	_, err = d.out.Write(text)
	return err
}

// credential writes the component of a credential, and that of its key when no
// other credential of this export has written it.
func (d *document) credential(ctx context.Context, r store.CredentialRow) error {
	keyRef, err := d.key(ctx, r)
	if err != nil || r.Kind == tallystick.KindKey {
		return err
	}
	c := cdx.Component{
		Type: cdx.ComponentTypeCryptographicAsset, BOMRef: "credential:" + string(r.ID), Name: nameOf(r),
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: string(r.ID)}}, Properties: properties(r),
	}
	switch r.Kind {
	case tallystick.KindSealed:
		c.Hashes = nil // of a container that is not public
		c.CryptoProperties = &cdx.CryptoProperties{
			AssetType:                       cdx.CryptoAssetTypeRelatedCryptoMaterial,
			RelatedCryptoMaterialProperties: &cdx.RelatedCryptoMaterialProperties{Type: cdx.RelatedCryptoMaterialTypeCiphertext, ID: string(r.ID)},
		}
	case tallystick.KindNamed: // nobody has seen what it is
		c.Hashes = nil
		c.CryptoProperties = &cdx.CryptoProperties{
			AssetType:                       cdx.CryptoAssetTypeRelatedCryptoMaterial,
			RelatedCryptoMaterialProperties: &cdx.RelatedCryptoMaterialProperties{Type: cdx.RelatedCryptoMaterialTypeCredential, ID: string(r.ID)},
		}
	default:
		c.CryptoProperties = &cdx.CryptoProperties{AssetType: cdx.CryptoAssetTypeCertificate, CertificateProperties: d.certificate(r, keyRef)}
	}
	if c.Evidence, err = d.occurrences(ctx, r.ID); err != nil {
		return err
	}
	return d.add(c)
}

func (d *document) certificate(r store.CredentialRow, keyRef string) *cdx.CertificateProperties {
	format := "X.509"
	if r.Kind == tallystick.KindSSHCertificate {
		format = "OpenSSH"
	}
	return &cdx.CertificateProperties{
		SubjectName: r.Subject, IssuerName: r.Issuer, NotValidBefore: timeText(r.NotBefore), NotValidAfter: timeText(r.NotAfter),
		SignatureAlgorithmRef: cdx.BOMReference(d.algorithm(r.Signature, cdx.CryptoPrimitiveSignature)),
		SubjectPublicKeyRef:   cdx.BOMReference(keyRef), CertificateFormat: format,
	}
}

// key writes the component of a credential's key, once, and returns its reference.
func (d *document) key(ctx context.Context, r store.CredentialRow) (string, error) {
	if r.KeyID == "" {
		return "", nil
	}
	ref := "key:" + string(r.KeyID)
	speaker, err := d.speaker(ctx, r)
	if err != nil || speaker != r.ID {
		return ref, err
	}
	c := cdx.Component{
		Type: cdx.ComponentTypeCryptographicAsset, BOMRef: ref, Name: r.Algorithm + " key " + r.KeyID.Short(),
		CryptoProperties: &cdx.CryptoProperties{
			AssetType: cdx.CryptoAssetTypeRelatedCryptoMaterial,
			RelatedCryptoMaterialProperties: &cdx.RelatedCryptoMaterialProperties{
				Type: cdx.RelatedCryptoMaterialTypePublicKey, ID: string(r.KeyID), Format: "SubjectPublicKeyInfo",
				AlgorithmRef: cdx.BOMReference(d.algorithm(r.Algorithm, cdx.CryptoPrimitiveUnknown)),
			},
		},
	}
	if r.Kind == tallystick.KindKey {
		c.Properties = properties(r)
		if c.Evidence, err = d.occurrences(ctx, r.ID); err != nil {
			return "", err
		}
	}
	return ref, d.add(c)
}

// speaker returns the one of the credentials with r's key that writes the key's
// component: the bare key where there is one, because it knows where the key
// is, otherwise the first. Asking costs a look into an index for each
// credential; remembering ten million keys would cost a gigabyte.
func (d *document) speaker(ctx context.Context, r store.CredentialRow) (tallystick.Fingerprint, error) {
	if r.Kind == tallystick.KindKey {
		return r.ID, nil
	}
	same := d.filter
	same.KeyID = string(r.KeyID)
	for _, kind := range []string{string(tallystick.KindKey), d.filter.Kind} {
		if d.filter.Kind != "" && kind != d.filter.Kind {
			continue
		}
		same.Kind = kind
		first, err := d.db.Credentials(ctx, same, store.PageRequest{Limit: 1})
		if err != nil {
			return "", err
		}
		if len(first.Items) > 0 {
			return first.Items[0].ID, nil
		}
	}
	return r.ID, nil // it is gone since its page was read
}

// occurrences returns where a credential is now.
func (d *document) occurrences(ctx context.Context, id tallystick.Fingerprint) (*cdx.Evidence, error) {
	sightings, err := d.db.SightingsOf(ctx, id, maxOccurrences)
	if err != nil {
		return nil, err
	}
	var places []cdx.EvidenceOccurrence
	for _, s := range sightings {
		if s.GoneSince.IsZero() {
			places = append(places, cdx.EvidenceOccurrence{Location: string(s.Place), AdditionalContext: string(s.Role)})
		}
	}
	if len(places) == 0 {
		return nil, nil
	}
	return &cdx.Evidence{Occurrences: &places}, nil
}

// properties returns what CycloneDX has no member for.
func properties(r store.CredentialRow) *[]cdx.Property {
	var list []cdx.Property
	add := func(name, value string) {
		if value != "" {
			list = append(list, cdx.Property{Name: "tallystick:" + name, Value: value})
		}
	}
	add("serial", r.Serial)
	for _, name := range r.Names {
		add("name", name)
	}
	add("owner", r.Annotation.Owner)
	add("environment", r.Annotation.Environment)
	for _, tag := range r.Annotation.Tags {
		add("tag", tag)
	}
	if r.Severity > 0 {
		add("severity", r.Severity.String())
	}
	if len(list) == 0 {
		return nil
	}
	return &list
}

// nameOf is the name of a component, which is never empty.
func nameOf(r store.CredentialRow) string {
	switch {
	case r.Subject != "":
		return r.Subject
	case len(r.Names) > 0:
		return r.Names[0]
	}
	return string(r.Kind) + " " + r.ID.Short()
}

// algorithm returns the reference of an algorithm, "" for none. primitive is
// what it is when its name does not tell.
func (d *document) algorithm(name string, primitive cdx.CryptoPrimitive) string {
	if name == "" {
		return ""
	}
	ref := "algorithm:" + name
	if _, ok := d.algorithms[ref]; !ok {
		d.algorithms[ref] = algorithmComponent(ref, name, primitive)
	}
	return ref
}

func algorithmComponent(ref, name string, primitive cdx.CryptoPrimitive) cdx.Component {
	family, parameter, _ := strings.Cut(name, "-")
	level := 0 // broken by a quantum computer: the category of no resistance
	switch {
	case strings.HasPrefix(name, "ml-dsa-"), strings.HasPrefix(name, "slh-dsa-"):
		primitive, parameter = cdx.CryptoPrimitiveSignature, name[strings.LastIndex(name, "-")+1:]
		level = quantumLevel(name)
	case family == "ecdsa", family == "dsa", family == "ed25519", family == "ed448":
		primitive = cdx.CryptoPrimitiveSignature
	case family == "x25519", family == "x448", family == "dh", family == "ecdh":
		primitive = cdx.CryptoPrimitiveKeyAgree
	case family == "rsa" && primitive == cdx.CryptoPrimitiveUnknown:
		primitive = cdx.CryptoPrimitivePKE
	}
	return cdx.Component{
		Type: cdx.ComponentTypeCryptographicAsset, BOMRef: ref, Name: name,
		CryptoProperties: &cdx.CryptoProperties{
			AssetType: cdx.CryptoAssetTypeAlgorithm,
			AlgorithmProperties: &cdx.CryptoAlgorithmProperties{
				Primitive: primitive, ParameterSetIdentifier: parameter, NistQuantumSecurityLevel: &level,
			},
		},
	}
}

// quantumLevel returns the security category of FIPS 204 table 1.
func quantumLevel(name string) int {
	switch name {
	case "ml-dsa-44":
		return 2
	case "ml-dsa-65":
		return 3
	case "ml-dsa-87":
		return 5
	}
	return 1
}
