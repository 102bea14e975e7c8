from __future__ import annotations

import io
import re

import pytest
from conftest import HOSTILE, Shown
from fastapi.testclient import TestClient
from PIL import Image

from mir_ops.console.app import create_app
from mir_ops.console.headers import IMAGE_POLICY, PAGE_POLICY
from mir_ops.console.sources import Sources
from mir_ops.store import Store
