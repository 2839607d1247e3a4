"""The ways people ask in Chinese. `{z}` is a country, `{y}` a capital, `{m}` a number."""

from __future__ import annotations

CHINESE_CAPITAL = """
{z}的首都是哪里？
{z}的首都是哪个城市？
{z}的首都是什么？
{z}首都是哪里
{z}的首都
{z}首都？
{z}的首都叫什么？
请问{z}的首都是哪里？
请告诉我{z}的首都。
告诉我{z}的首都
你知道{z}的首都吗？
你知道{z}的首都是哪里吗？
哪个城市是{z}的首都？
{z}的首都在哪里？
我想知道{z}的首都是哪里。
""".strip().splitlines()

CHINESE_FOLLOW_UP = """
那{z}呢？
{z}呢？
那么{z}呢？
还有{z}呢？
{z}？
那{z}的呢？
那{z}的首都呢？
""".strip().splitlines()

CHINESE_REVERSE = """
{y}是哪个国家的首都？
{y}在哪个国家？
{y}是哪国的首都？
哪个国家的首都是{y}？
""".strip().splitlines()

CHINESE_LARGEST = """
这{m}个城市中哪个人口最多？
哪个城市人口最多？
其中哪个人口最多？
哪个最大？
这{m}个城市里哪个最大？
""".strip().splitlines()
