"""What is installed: licences, and what it needs beside itself."""

import importlib.metadata
import unittest

PACKAGE = importlib.metadata.distribution("twnc")


class Package(unittest.TestCase):
    def test_it_brings_the_licences_of_everything_in_it(self):
        texts = {path.name: path.read_text() for path in PACKAGE.files if "licenses" in path.parts}
        self.assertEqual(set(texts), {"LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY.txt"})
        self.assertIn("cranelift-codegen", texts["THIRD-PARTY.txt"])
        for name, text in texts.items():
            self.assertIn("Permission is hereby granted" if name == "LICENSE-MIT" else "Apache", text, name)

    def test_it_has_a_bill_of_materials(self):
        self.assertTrue([path for path in PACKAGE.files if path.name.endswith(".cyclonedx.json")])

    def test_it_needs_numpy_alone(self):
        self.assertEqual(PACKAGE.requires, ["numpy>=1.21"])


if __name__ == "__main__":
    unittest.main()
