package caddytest

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"
)

// HelloTo returns the record that a TLS client begins with.
func HelloTo(t *testing.T, serverName string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		_ = tls.Client(client, &tls.Config{ServerName: serverName, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
	}()
	header := make([]byte, 5)
	if _, err := io.ReadFull(server, header); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(header[3:]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return append(header, body...)
}

// InRecords spreads a record's content over records of size bytes.
func InRecords(record []byte, size int) []byte {
	var all []byte
	for content := record[5:]; len(content) > 0; content = content[min(size, len(content)):] {
		all = append(all, record[:3]...)
		all = binary.BigEndian.AppendUint16(all, uint16(min(size, len(content))))
		all = append(all, content[:min(size, len(content))]...)
	}
	return all
}
