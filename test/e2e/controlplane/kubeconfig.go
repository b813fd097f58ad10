// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a kubeconfig for id to path, with certificates and key
// inside, so that the file may be copied.
func writeKubeconfig(path, server string, p pki, id identity) error {
	files := make([][]byte, 3)
	for i, name := range []string{p.cert(caName), p.cert(id.file), p.key(id.file)} {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files[i] = data
	}
	const name = "keelson"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: files[0]}
	config.AuthInfos[id.commonName] = &clientcmdapi.AuthInfo{ClientCertificateData: files[1], ClientKeyData: files[2]}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: id.commonName, Namespace: "default"}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, path)
}

// restConfig reads a kubeconfig for a client without a rate limit of its own:
// load is the point of most callers.
func restConfig(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return config, nil
}
