"""Messages of HashiCorp go-plugin: controller, stdio, broker."""
